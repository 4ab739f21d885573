"""The endpoints that write: the old HUD's own, and `/api/publish` for our publisher over HTTP.

Each reads and checks its whole body first, then runs one script: what is refused stores nothing.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from hud_publisher.protocol import replies, scripts
from hud_publisher.protocol.batch import Batch, check_latency_ms, check_metrics, decode_batch
from hud_publisher.protocol.entries import Entry, FrameEntry, MetricsEntry, VisionEntry
from hud_publisher.protocol.errors import HudError, MalformedError, SessionNotActiveError, UnsupportedImageError
from hud_publisher.protocol.images import inspect_image
from hud_publisher.protocol.keys import SessionId, check_channel
from hud_publisher.protocol.scripts import Limits
from hud_publisher.protocol.values import clean_text
from hud_web.auth import require_token
from hud_web.body import read_body, read_json
from hud_web.query import channel_of
from hud_web.store import Store

#: The writer under which clients of the old endpoints appear; they number nothing, so nothing is dropped as repeated.
_HTTP_WRITER = "http"
#: Fields of an update_vision body that have a place of their own; all others are shown by their names.
_VISION_FIELDS = frozenset({"session_id", "image_base64", "response_time", "prompt", "response", "step"})


class WritingEndpoints:
    """Everything under `/api` that takes POST."""

    def __init__(self, store: Store, limits: Limits, tokens: tuple[str, ...]) -> None:
        self._store = store
        self._limits = limits
        self._tokens = tokens

    async def register_session(self, request: Request) -> JSONResponse:
        """Take or join a channel; the body may be empty."""
        require_token(request, self._tokens)
        body = await read_json(request)
        is_takeover = body.get("takeover") is True
        if is_takeover:
            require_token(request, self._tokens, always=True)
        info = {} if body.get("info") is None else body["info"]
        if not isinstance(info, dict):
            raise MalformedError(f"expected info to be an object of texts, got {type(info).__name__}")
        call = scripts.register(
            _channel(body, request),
            run_id=_text(body, "run_id"),
            name=_text(body, "name") or "unnamed run",
            limits=self._limits,
            info=dict(list(info.items())[:_MAX_INFO]),
            takeover=is_takeover,
        )
        session = replies.parse_register(await self._store.run(call))
        return JSONResponse({
            "session_id": session.session_id, "status": "joined" if session.joined else "registered",
            "fence": int(session.sid), "ttl_s": self._limits.ttl_ms / 1000,
        })  # fmt: skip

    async def update_training(self, request: Request) -> JSONResponse:
        """`{session_id, data}`: fields of this moment."""
        require_token(request, self._tokens)
        body = await read_json(request)
        return await self._update(_session_id(body), lambda: _metrics(body))

    async def update_vision(self, request: Request) -> JSONResponse:
        """`{session_id, image_base64, …}`: a live frame, or with response_time what the vision LLM saw and said."""
        require_token(request, self._tokens)
        body = await read_json(request)
        return await self._update(_session_id(body), lambda: _picture(body))

    async def publish(self, request: Request) -> JSONResponse:
        """One batch of our own publisher: pictures as bytes, repeated batches dropped by their number."""
        require_token(request, self._tokens)
        session_id, batch = decode_batch(await read_body(request))
        reply = replies.parse_publish(await self._store.run(scripts.publish(session_id, batch, self._limits)))
        return JSONResponse(_feedback(reply))

    async def heartbeat(self, request: Request) -> JSONResponse:
        """`{session_id}`: keep the session; the answer tells how many watch."""
        require_token(request, self._tokens)
        session_id = _session_id(await read_json(request))
        call = scripts.publish(session_id, Batch(_HTTP_WRITER), self._limits)
        return JSONResponse(_feedback(replies.parse_publish(await self._store.run(call))))

    async def release_session(self, request: Request) -> JSONResponse:
        """`{session_id}`: give the channel up; repeating it changes nothing."""
        require_token(request, self._tokens)
        session_id = _session_id(await read_json(request))
        status, _sid = replies.parse_release(await self._store.run(scripts.release(session_id)))
        return JSONResponse({"status": status})

    async def reset_session(self, request: Request) -> JSONResponse:
        """End whatever session holds the channel; the answer gives its public number, never its secret."""
        require_token(request, self._tokens)
        body = await read_json(request)
        channel = _channel(body, request)
        _status, sid = replies.parse_release(await self._store.run(scripts.reset(channel)))
        return JSONResponse({"status": "reset", "previous_session": sid})

    async def reporter(self, request: Request) -> JSONResponse:
        """`{worker_index, env_index}`: which env to show from its next episode on."""
        require_token(request, self._tokens)
        body = await read_json(request)
        channel = _channel(body, request)
        reporter = replies.Reporter(_index(body, "worker_index"), _index(body, "env_index"))
        await self._store.ask_for_reporter(channel, reporter)
        return JSONResponse({"status": "asked", "worker_index": reporter.worker_index, "env_index": reporter.env_index})

    async def _update(self, session_id: SessionId, read: Callable[[], Entry]) -> JSONResponse:
        try:
            entry = read()
        except HudError:
            await self._store.check_active(session_id)  # who may not write learns that, whatever it sent
            raise
        call = scripts.publish(session_id, Batch(_HTTP_WRITER, 0, (entry,)), self._limits)
        replies.parse_publish(await self._store.run(call))
        return JSONResponse({"status": "updated"})


#: Text fields that describe a session: enough for a configuration's main values.
_MAX_INFO = 64


def _feedback(reply: replies.Published) -> dict[str, Any]:
    wish = reply.reporter
    return {
        "status": "duplicate" if reply.is_duplicate else "ok", "viewers": reply.viewers,
        "reporter": {"worker_index": wish.worker_index, "env_index": wish.env_index} if wish else None,
        "last_id": reply.last_id, "shown": reply.shown, "shown_age_ms": reply.shown_age_ms,
    }  # fmt: skip


def _metrics(body: dict[str, Any]) -> MetricsEntry:
    data, step = body.get("data"), _step(body)
    return check_metrics(data, _now_ms(), _step(data) if step is None else step)


def _picture(body: dict[str, Any]) -> FrameEntry | VisionEntry:
    image = _decode_base64(body.get("image_base64"))
    mime = inspect_image(image).mime
    latency_ms, step = check_latency_ms(body.get("response_time")), _step(body)
    prompt, response = _text(body, "prompt"), _text(body, "response")
    if latency_ms is None and prompt is None and response is None:
        return FrameEntry(image, _now_ms(), mime, step)
    rest = {name: value for name, value in body.items() if name not in _VISION_FIELDS}
    return VisionEntry(image, _now_ms(), mime, latency_ms, step, prompt, response, check_metrics(rest, 0).data)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _session_id(body: dict[str, Any]) -> SessionId:
    session_id = body.get("session_id")
    if session_id is not None and not isinstance(session_id, str):
        raise MalformedError(f"expected session_id to be text, got {type(session_id).__name__}")
    if not session_id:
        raise SessionNotActiveError("expected a session_id, got none: POST /api/register_session first")
    return SessionId(session_id)


def _channel(body: dict[str, Any], request: Request) -> str:
    """The channel that the body names, or else the query, or else the default one."""
    named, in_query = _text(body, "channel"), channel_of(request)
    return check_channel(named) if named else in_query


def _text(body: dict[str, Any], name: str) -> str | None:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise MalformedError(f"expected {name} to be text, got {type(value).__name__}")
    return clean_text(value) if value else None


def _step(body: object) -> int | None:
    """The step that an update names, where it names a usable one; the old clients call it global_step."""
    if not isinstance(body, dict):
        return None
    step = body.get("step", body.get("global_step"))
    if isinstance(step, float) and step.is_integer():
        step = int(step)
    return step if isinstance(step, int) and not isinstance(step, bool) and 0 <= step < 2**53 else None


def _index(body: dict[str, Any], name: str) -> int:
    value = body.get(name)
    if isinstance(value, float) and value.is_integer():  # JSON knows one kind of number
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 1_000_000:
        raise MalformedError(f"expected {name} to be a whole number from 0, got {str(value)[:40]!r}")
    return value


def _decode_base64(text: object) -> bytes:
    if not isinstance(text, str) or not text:
        raise MalformedError(f"expected image_base64 to be text, got {type(text).__name__}: encode the picture")
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode("".join(text.split()), validate=True)  # in lines, where MIME's encoder wrote it
    except (binascii.Error, ValueError) as error:
        raise UnsupportedImageError(f"expected image_base64 to be base64, got something else: {error}") from error
