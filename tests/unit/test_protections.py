"""The list of protections names text that the code has; `make prove-protections` removes each and runs its tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.protections.prove import REMOVALS, Removal


@pytest.mark.parametrize("removal", REMOVALS, ids=lambda removal: removal.name)
def test_every_protection_is_where_its_list_says(removal: Removal) -> None:
    assert removal.old in (Path(__file__).parents[2] / removal.file).read_text()
