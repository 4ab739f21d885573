"""The endpoints that write: those of the Flask HUD, and `/api/publish` for our publisher over HTTP.

Each endpoint reads and checks the whole body first, then runs one script: a refused request stores no data.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable
from typing import Any

from starlette.requests import Request

from hud_publisher.protocol import registration, replies, scripts
from hud_publisher.protocol.batch import Batch, Published, Reporter
from hud_publisher.protocol.batch_body import BatchHead, check_latency_ms, check_metrics, decode_entries, decode_head
from hud_publisher.protocol.configuration import MAX_SECTIONS, encode_sections, readable
from hud_publisher.protocol.entries import Entry, FrameEntry, Limits, MetricsEntry, VisionEntry
from hud_publisher.protocol.errors import (
    ConfigError,
    HudError,
    MalformedError,
    SessionNotActiveError,
    UnsupportedImageError,
    brief,
)
from hud_publisher.protocol.images import inspect_image
from hud_publisher.protocol.keys import SessionId, check_channel, split_session_id
from hud_publisher.protocol.names import clean_text
from hud_publisher.protocol.roles import read_roles
from hud_web.api.channel_index import ChannelIndex
from hud_web.http.answers import JsonAnswer
from hud_web.http.auth import require_token
from hud_web.http.body import (
    INLINE_BYTES,
    MAX_BODY_BYTES,
    MAX_CONFIG_BODY_BYTES,
    MAX_METRICS_BODY_BYTES,
    MAX_REGISTRATION_BYTES,
    decode,
    read_body,
    read_json,
)
from hud_web.http.query import channel_of
from hud_web.store.store import Store

#: The writer name of clients of the old endpoints. They send no batch numbers, so no batch is dropped as a duplicate.
_HTTP_WRITER = "http"
#: Fields of an update_vision body with a fixed meaning; all others are shown by their names.
_VISION_FIELDS = frozenset({"session_id", "image_base64", "response_time", "prompt", "response", "step"})


class WritingEndpoints:
    """All POST endpoints under `/api`."""

    def __init__(
        self, store: Store, index: ChannelIndex, limits: Limits, tokens: tuple[str, ...], page: str | None = None
    ) -> None:
        self._store = store
        self._index = index
        self._limits = limits
        self._tokens = tokens
        #: The address that the settings give for the page; a publisher knows one by which it reaches this server.
        self._page = page

    async def register_session(self, request: Request) -> JsonAnswer:
        """Take or join a channel; the body may be empty."""
        require_token(request, self._tokens)
        body, _size = await read_json(request, MAX_REGISTRATION_BYTES)
        is_takeover = body.get("takeover") is True
        if is_takeover:
            require_token(request, self._tokens, always=True)
        info = {} if body.get("info") is None else body["info"]
        if not isinstance(info, dict):
            raise MalformedError(f"expected info to be an object of texts, got {type(info).__name__}")
        try:
            roles = read_roles(body.get("roles"), allows_repeats=True)
        except ConfigError as error:
            raise MalformedError(str(error)) from error
        channel = _channel(body, request)
        calls = scripts.RegisterCalls(
            channel=channel,
            run_id=_text(body, "run_id"),
            name=_text(body, "name") or "unnamed run",
            limits=self._limits,
            info=info,
            roles=roles,
        )
        procedure = registration.register(calls, takeover=is_takeover, aside=body.get("aside") is True)
        session = await self._store.register(procedure)
        await self._index.touch(session.channel, is_new=not session.joined)
        return JsonAnswer({
            "session_id": session.session_id, "status": "joined" if session.joined else "registered",
            "fence": int(session.sid), "ttl_s": self._limits.ttl_ms / 1000, "channel": session.channel,
            "page": self._page,
        })  # fmt: skip

    async def update_training(self, request: Request) -> JsonAnswer:
        """`{session_id, data}`: fields of the current moment."""
        require_token(request, self._tokens)
        body, size = await read_json(request, MAX_METRICS_BODY_BYTES)
        return await self._update(body, size, _metrics)

    async def update_vision(self, request: Request) -> JsonAnswer:
        """`{session_id, image_base64, …}`: a live frame, or with response_time a call of the vision LLM."""
        require_token(request, self._tokens)
        body, size = await read_json(request, MAX_BODY_BYTES)
        return await self._update(body, size, _picture)

    async def publish(self, request: Request) -> JsonAnswer:
        """One batch of our publisher: pictures as bytes; repeated batches are dropped by their number."""
        require_token(request, self._tokens)
        body = await read_body(request)
        head = await decode(len(body), decode_head, body)
        if len(body) > INLINE_BYTES:
            await self._store.check_active(head.session_id)
        call = await decode(len(body), self._batch_call, head, body)
        return JsonAnswer(_feedback(await self._publish(head.session_id, call)))

    async def heartbeat(self, request: Request) -> JsonAnswer:
        """`{session_id}`: keep the session; the answer holds the number of viewers."""
        require_token(request, self._tokens)
        session_id = _session_id((await read_json(request))[0])
        call = scripts.publish(session_id, Batch(_HTTP_WRITER, is_main=True), self._limits)
        return JsonAnswer(_feedback(await self._publish(session_id, call)))

    async def describe(self, request: Request) -> JsonAnswer:
        """`{session_id, sections, replaces?}`: sections of the run's configuration, from name to a tree of values."""
        require_token(request, self._tokens)
        body, size = await read_json(request, MAX_CONFIG_BODY_BYTES)
        session_id = _session_id(body)
        if size > INLINE_BYTES:
            await self._store.check_active(session_id)
        call = await decode(size, self._describe_call, session_id, body)
        replies.parse_describe(await self._store.run(call))
        return JsonAnswer({"status": "stored"})

    async def release_session(self, request: Request) -> JsonAnswer:
        """`{session_id}`: release the channel; a second call has no effect."""
        require_token(request, self._tokens)
        session_id = _session_id((await read_json(request))[0])
        status, _sid = replies.parse_release(await self._store.run(scripts.release(session_id)))
        return JsonAnswer({"status": status})

    async def reset_session(self, request: Request) -> JsonAnswer:
        """End the session that holds the channel; the answer gives its public number, never its secret."""
        require_token(request, self._tokens)
        body, _size = await read_json(request)
        channel = _channel(body, request)
        _status, sid = replies.parse_release(await self._store.run(scripts.reset(channel)))
        return JsonAnswer({"status": "reset", "previous_session": sid})

    async def reporter(self, request: Request) -> JsonAnswer:
        """`{worker_index, env_index}`: the env to show from its next episode on."""
        require_token(request, self._tokens)
        body, _size = await read_json(request)
        channel = _channel(body, request)
        reporter = Reporter(_index(body, "worker_index"), _index(body, "env_index"))
        await self._store.ask_for_reporter(channel, reporter, self._limits)
        return JsonAnswer({"status": "asked", "worker_index": reporter.worker_index, "env_index": reporter.env_index})

    async def _update(self, body: dict[str, Any], size: int, read: Callable[[dict[str, Any]], Entry]) -> JsonAnswer:
        session_id = _session_id(body)
        if size > INLINE_BYTES:  # one more call to Redis costs less than decoding fields for an inactive session
            await self._store.check_active(session_id)
        try:
            call = await decode(size, self._entry_call, session_id, read, body)
        except HudError:
            await self._store.check_active(session_id)  # a client that may not write gets this error first
            raise
        await self._publish(session_id, call)
        return JsonAnswer({"status": "updated"})

    async def _publish(self, session_id: SessionId, call: scripts.ScriptCall) -> Published:
        reply = replies.parse_publish(await self._store.run(call))
        if parts := split_session_id(session_id):
            await self._index.touch(parts[0])
        return reply

    def _entry_call(
        self, session_id: SessionId, read: Callable[[dict[str, Any]], Entry], body: dict[str, Any]
    ) -> scripts.ScriptCall:
        return scripts.publish(session_id, Batch(_HTTP_WRITER, 0, (read(body),), is_main=True), self._limits)

    def _batch_call(self, head: BatchHead, body: bytes) -> scripts.ScriptCall:
        return scripts.publish(head.session_id, decode_entries(head, body), self._limits)

    def _describe_call(self, session_id: SessionId, body: dict[str, Any]) -> scripts.ScriptCall:
        sections, replaces = body.get("sections"), body.get("replaces", True)
        if not isinstance(sections, dict) or len(sections) > MAX_SECTIONS:
            raise MalformedError(f"expected sections to be an object of at most {MAX_SECTIONS} trees of values")
        if not isinstance(replaces, bool):
            raise MalformedError(f"expected replaces to be true or false, got {brief(replaces)}")
        texts = encode_sections({name: readable(tree) for name, tree in sections.items()})
        return scripts.describe(session_id, texts, self._limits, replaces=replaces)


def _feedback(reply: Published) -> dict[str, Any]:
    wish = reply.reporter
    return {
        "status": "duplicate" if reply.is_duplicate else "ok", "viewers": reply.viewers,
        "reporter": {"worker_index": wish.worker_index, "env_index": wish.env_index} if wish else None,
        "last_id": reply.last_id, "shown": reply.shown, "shown_age_ms": reply.shown_age_ms,
    }  # fmt: skip


def _metrics(body: dict[str, Any]) -> MetricsEntry:
    data, step = body.get("data"), _step(body)
    return check_metrics(data, _now_ms(), _step(data) if step is None else step, histograms=True)


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
        raise SessionNotActiveError("the request has no session_id: POST /api/register_session first")
    return SessionId(session_id)


def _channel(body: dict[str, Any], request: Request) -> str:
    """Return the channel that the body names, else the query's, else the default one."""
    named, in_query = _text(body, "channel"), channel_of(request)
    return check_channel(named) if named else in_query


def _text(body: dict[str, Any], name: str) -> str | None:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise MalformedError(f"expected {name} to be text, got {type(value).__name__}")
    return clean_text(value) if value else None


def _step(body: object) -> int | None:
    """Return the step of an update, None without a valid one; old clients call it global_step."""
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
        raise MalformedError(f"expected {name} to be a whole number from 0, got {brief(value)}")
    return value


def _decode_base64(text: object) -> bytes:
    if not isinstance(text, str) or not text:
        got = "an empty one" if text == "" else type(text).__name__
        raise MalformedError(f"expected image_base64 to be text, got {got}: encode the picture")
    text = text.rpartition(",")[2]  # base64 has no comma: the head of a data URL precedes it
    try:
        # MIME encoders insert line breaks. `translate` takes the same time for every text, unlike a split at spaces.
        return base64.b64decode(text.encode("ascii").translate(None, b" \t\r\n"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise UnsupportedImageError(f"image_base64 is not base64: {error}") from error
