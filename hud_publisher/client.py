"""`HUDClient`: the old client's surface, for code written against it.

Nothing of it blocks any more: it hands everything to a Publisher. Refuses nothing that the old one took.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Mapping
from typing import Any

from hud_publisher.publisher import CLOSE_S, Publisher

#: How long `register_session` waits for an answer, in seconds; it is called once, before training.
REGISTER_WAIT_S = 2.0


class HUDClient:
    """One process's connection to the HUD, by the old names."""

    def __init__(self, hud_url: str | None = None, *, publisher: Publisher | None = None) -> None:
        """Publish to `hud_url`, or where REDIS_URL or HUD_URL say.

        Args:
            hud_url: address of the HUD server.
            publisher: instead of one of its own.
        """
        self._publisher = publisher or Publisher(hud_url=hud_url)

    @property
    def enabled(self) -> bool:
        """Whether updates can be shown: False without an address, or while another run holds the display."""
        return self._publisher.status not in ("disabled", "refused", "closed")

    @property
    def session_id(self) -> str | None:
        """The session's secret; None while there is no session."""
        return self._publisher.session_id

    def register_session(self) -> bool:
        """Ask for the session and wait a moment for the answer. Returns whether it is ours."""
        self._publisher.start()
        deadline = time.monotonic() + REGISTER_WAIT_S
        while self._publisher.status == "connecting" and time.monotonic() < deadline:
            time.sleep(0.005)
        return self._publisher.is_active

    def update_training_data(self, data: Mapping[str, Any]) -> bool:
        """Publish fields. Returns whether they were taken."""
        self._publisher.log(data, step=data.get("global_step") if isinstance(data, Mapping) else None)
        return self.enabled

    def update_vision_data(self, image_base64: str | bytes, response_time: float | None = None) -> bool:
        """Publish a picture: a call of the vision LLM, or a live frame where `response_time` (in ms) is missing.

        Returns whether it is a picture and updates can be shown; of live frames only as many as are due are sent.
        """
        image = _decode(image_base64)
        if image is None:
            return False
        if response_time is None:
            self._publisher.frame(image)
        else:
            self._publisher.vision(image, response_time_ms=response_time)
        return self.enabled

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """Send what waits and end."""
        self._publisher.close(timeout_s)


def _decode(image_base64: str | bytes) -> bytes | None:
    """The picture's bytes, from base64 with or without a `data:` prefix; None if it is not base64."""
    try:
        text = image_base64 if isinstance(image_base64, str) else image_base64.decode("ascii")
        return base64.b64decode(text.rpartition(",")[2], validate=True) or None
    except (binascii.Error, ValueError, AttributeError):
        return None
