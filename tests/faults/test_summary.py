"""The table of docs/guarantees.md adds up the reports of the runs."""

from __future__ import annotations

import pytest

from tests.faults.summary import SUMS, summary


def run(seed: int, acknowledged: int, *faults: str) -> dict[str, object]:
    return dict.fromkeys(SUMS, 1) | {"seed": seed, "acknowledged": acknowledged, "faults": faults}


def test_totals_seeds_and_faults_are_added_up() -> None:
    text = summary([run(3, 10, "cut"), run(1, 20, "cut", "full"), run(2, 30), run(9, 40)])
    assert "| schedules | 4 |" in text
    assert "| seeds | 1 to 3, 9 |" in text
    assert "| entries acknowledged | 100, on average 25, at least 10 |" in text
    assert "| lost, doubled, out of order, or another broken promise | 4 |" in text
    assert "| faults | 3: cut 2, full 1 |" in text


def test_a_seed_counts_once() -> None:
    with pytest.raises(SystemExit, match=r"\[1\] twice"):
        summary([run(1, 10), run(1, 10)])
