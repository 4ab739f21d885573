"""`HUDClient`: the interface of the old client, for code written against it.

No call blocks: it passes everything to a Publisher. Accepts all that the old client accepted.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from typing import Any

from hud_publisher.lifecycle import CLOSE_S
from hud_publisher.publisher import Publisher
from hud_publisher.sender.vision_picture import bytes_of_text

#: How long `register_session` waits for an answer, in seconds; it is called once, before training.
REGISTER_WAIT_S = 2.0


class HUDClient:
    """One process's connection to the HUD, by the old names."""

    def __init__(self, hud_url: str | None = None, *, publisher: Publisher | None = None) -> None:
        """Publish to `hud_url`, else to REDIS_URL or HUD_URL.

        Args:
            hud_url: address of the HUD server.
            publisher: used instead of a new one.
        """
        self._publisher = publisher or Publisher(hud_url=hud_url)

    def __copy__(self) -> HUDClient:
        """Return a client that publishes nothing, as copies of its publisher do."""
        return HUDClient(publisher=copy.copy(self._publisher))

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
        try:
            step = data.get("global_step") if isinstance(data, Mapping) else None
        except Exception:  # a foreign object's methods may raise anything
            step = None
        self._publisher.log(data, step=step)
        return self.enabled

    def update_vision_data(self, image_base64: str | bytes, response_time: float | None = None) -> bool:
        """Publish a picture: a call of the vision LLM, or a live frame if `response_time` (in ms) is missing.

        A call without a usable picture is published with the reason. Live frames are sent only when they are due.

        Returns:
            Whether the text is base64 and updates can be shown.
        """
        image = _decode(image_base64)
        if response_time is None:
            self._publisher.frame(image_base64 if image is None else image)
        else:
            self._publisher.vision(image_base64 if image is None else image, response_time_ms=response_time)
        return image is not None and self.enabled

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """Send the queued entries and end."""
        self._publisher.close(timeout_s)


def _decode(image_base64: str | bytes) -> bytes | None:
    """The picture's bytes, from base64 with or without a `data:` prefix; None if it is not base64."""
    try:
        return bytes_of_text(image_base64 if isinstance(image_base64, str) else image_base64.decode("ascii")) or None
    except Exception:  # a foreign object's methods may raise anything
        return None
