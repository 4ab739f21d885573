"""Publishers for the integration tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hud_publisher import Publisher


@pytest.fixture
def publish() -> Iterator[Callable[..., Publisher]]:
    """Publishers that end with the test."""
    made: list[Publisher] = []

    def make(**options: Any) -> Publisher:
        made.append(Publisher(**options))
        return made[-1]

    yield make
    for publisher in made:
        publisher.close(0.5)
