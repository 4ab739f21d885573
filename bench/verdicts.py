"""False alarms and delays of the verdict on the made-up runs of the tests, healthy and failing ones.

    python bench/verdicts.py [--seeds 25] [--seconds 300] [--write]

A false alarm is a verdict "warning" or "bad" at any second of a healthy run. The delay of a failing run is the time
from the appearance of the failure in the data to the first verdict that names it.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from statistics import median

from tests.unit.monitor.made_up import STYLES
from tests.unit.monitor.test_patterns import FAILING, HEALTHY, UNLOGGED, WITHIN_S, names_in, verdicts

RESULTS = Path(__file__).with_name("RESULTS-verdicts.md")


def false_alarms(seeds: int, seconds: float) -> list[str]:
    """Return a row for each healthy run: runs, accused runs, and the patterns that accused them."""
    rows = []
    for name, plan in HEALTHY.items():
        accused: Counter[str] = Counter()
        for style in STYLES:
            for seed in range(100, 100 + seeds):
                found = verdicts(plan, style, seed, seconds)
                wrong = next((one for one in found if one["level"] in ("bad", "warning")), None)
                if wrong is not None:
                    accused[wrong["clauses"][0]["pattern"] or wrong["text"].split()[0]] += 1
        why = ", ".join(f"{pattern} {count}" for pattern, count in accused.most_common()) or "none"
        rows.append(f"| {name} | {len(STYLES) * seeds} | {accused.total()} | {why} |")
        print(rows[-1], flush=True)
    return rows


def delays(seeds: int) -> list[str]:
    """Return a row for each failing run: runs, median and longest delay in seconds, and runs without a name."""
    rows = []
    for name, (plan, appears_s) in FAILING.items():
        styles = [style for style in STYLES if style not in UNLOGGED.get(name, ())]
        found, missed = [], 0
        for style in styles:
            for seed in range(100, 100 + seeds):
                told = verdicts(plan, style, seed, appears_s + 2 * WITHIN_S)
                at = next((second for second, one in enumerate(told, 1) if name in names_in(one)), None)
                missed += at is None
                found.append(max(0.0, (at or appears_s + 2 * WITHIN_S) - appears_s))
        rows.append(f"| {name} | {len(styles) * seeds} | {median(found):.0f} s | {max(found):.0f} s | {missed} |")
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Measure, and with --write store the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=25)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    alarms, named = false_alarms(options.seeds, options.seconds), delays(max(2, options.seeds // 5))
    if options.write:
        RESULTS.write_text(
            "# Verdicts on made-up runs\n\n"
            f"`python bench/verdicts.py --seeds {options.seeds} --seconds {options.seconds:g} --write`: the field\n"
            "names of four frameworks, with noise.\n\n"
            "| healthy run | runs | accused | by |\n|---|---|---|---|\n" + "\n".join(alarms) + "\n\n"
            "| failing run | runs | median delay | longest delay | not named in 2 min |\n|---|---|---|---|---|\n"
            + "\n".join(named) + "\n"
        )  # fmt: skip


if __name__ == "__main__":
    main()
