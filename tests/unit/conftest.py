"""Time limits that a busy machine keeps: they would measure its other work, not ours."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from hud_publisher import Publisher

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def patient_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Publisher.close()` waits 30 s: two may pass before the sender thread runs."""
    monkeypatch.setattr(Publisher.close, "__defaults__", (30.0,))
