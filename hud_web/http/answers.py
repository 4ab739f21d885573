"""JSON answers in ASCII: a stored text may hold a lone surrogate, which UTF-8 cannot encode."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse

from hud_publisher.protocol.values import to_json


class JsonAnswer(JSONResponse):
    """An answer in JSON; every endpoint and every refusal uses it."""

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return to_json(content).encode("ascii")
