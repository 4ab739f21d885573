"""Adds up runs under faults: `python -m tests.faults.summary report.jsonl …`, files that HUD_FAULT_REPORT named."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

SUMS = ("acknowledged", "sessions", "connections", "resets", "retries", "duplicates", "violations")


def summary(runs: Sequence[dict[str, Any]]) -> str:
    """Return the totals as the table of docs/guarantees.md."""
    faults = Counter(fault for run in runs for fault in run["faults"])
    totals = {name: sum(run[name] for run in runs) for name in SUMS}
    rows = {
        "schedules": f"{len(runs):,}",
        "seeds": _ranges([run["seed"] for run in runs]),
        "entries acknowledged": f"{totals['acknowledged']:,}, on average {totals['acknowledged'] / len(runs):,.0f}, "
        f"at least {min(run['acknowledged'] for run in runs):,}",
        "lost, doubled, out of order, or another broken promise": f"{totals['violations']:,}",
        "sessions": f"{totals['sessions']:,}",
        "connections of viewers": f"{totals['connections']:,}",
        "resets that viewers were told": f"{totals['resets']:,}",
        "batches sent again, and of those dropped as duplicates": f"{totals['retries']:,}, {totals['duplicates']:,}",
        "faults": f"{faults.total():,}: " + ", ".join(f"{name} {count}" for name, count in sorted(faults.items())),
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


def _ranges(seeds: Sequence[int]) -> str:
    """Seeds as ranges: 1 to 3, 7."""
    ordered = sorted(seeds)
    if len(set(ordered)) != len(ordered):
        raise SystemExit(f"expected each seed once, got {[a for a, b in pairwise(ordered) if a == b]} twice")
    starts = [seed for before, seed in pairwise([ordered[0] - 2, *ordered]) if seed != before + 1]
    ends = [seed for seed, after in pairwise([*ordered, ordered[-1] + 2]) if after != seed + 1]
    return ", ".join(f"{a} to {b}" if b > a else str(a) for a, b in zip(starts, ends, strict=True))


if __name__ == "__main__":
    print(summary([json.loads(line) for name in sys.argv[1:] for line in Path(name).read_text().splitlines()]))
