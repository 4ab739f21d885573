"""`watch_openai`: publishes the pictures that a vision LLM was shown, and its answers, without a change at the call.

Wraps `create` and `parse` of the chat completions and responses of an OpenAI-compatible client, synchronous or
asynchronous, and of every client that is derived from it. A call with a picture is published with the question, the
answer, latency, tokens and errors. The caller gets the same result, the same stream or the same exception as without
it, and watching itself never raises. Loads no SDK: `llm_question` and `llm_answer` know messages by their shape.
"""

from __future__ import annotations

import binascii
import contextlib
import functools
import inspect
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hud_publisher.integrations.llm_answer import Answer
from hud_publisher.integrations.llm_question import Question, field_of, read_question
from hud_publisher.integrations.llm_stream import AsyncTap, Tap
from hud_publisher.protocol.internals import report_missing
from hud_publisher.publisher import Publisher
from hud_publisher.quiet import Quiet, explain

logger = logging.getLogger("hud_publisher")
#: Arguments, answers and errors may be of any shape; a part that cannot be read costs the display of one call.
quiet = Quiet("hud_publisher", logging.DEBUG)

Client = TypeVar("Client")
Step = Callable[[], int | None]

#: Objects of a client whose methods ask a model. `beta` holds separate ones.
_RESOURCES = ("chat.completions", "responses", "beta.chat.completions", "beta.responses")
_METHODS = ("create", "parse")
#: Methods that return another client with the same credentials.
_DERIVING = ("copy", "with_options")
#: Objects that keep the unwrapped methods, made and kept by the SDK at first use; it makes them again.
_KEPT = ("with_raw_response", "with_streaming_response")
#: Bytes that are read of a raw answer that is not streamed.
MAX_BODY_BYTES = 8 * 1024 * 1024
#: A picture of at most this size is decoded in the caller's thread: 0.3 ms, and a quarter less memory.
MAX_EAGER_CHARS = 256 * 1024

#: The publishers whose watched call is running: a client's `parse` may call `create`, which is the same call.
_inside: ContextVar[tuple[Publisher, ...]] = ContextVar("hud_inside", default=())


def watch_openai(client: Client, hud: Publisher, *, step: Step | None = None) -> Client:
    """Publish every call of this client, and of every client derived from it, that carries a picture.

    Never raises, and costs a call some microseconds; calls without a picture are passed on unchanged. Watching a
    client again changes nothing.

    Args:
        client: `OpenAI`, `AsyncOpenAI`, their Azure forms, or anything with `chat.completions.create` or
            `responses.create`; it is changed in place.
        hud: publisher of the calls.
        step: called at each call; returns the environment steps sampled by then.

    Returns:
        The same client.
    """
    try:
        wrapped = [_wrap_resource(client, path, hud, step) for path in _RESOURCES]
        if not any(wrapped):
            logger.warning(
                "HUD: calls of a %s cannot be shown: expected chat.completions.create or responses.create",
                type(client).__name__,
            )
            return client
        for name in _DERIVING:
            _wrap(client, name, hud, lambda original: _deriving(original, hud, step))
        _forget_kept(client)
    except Exception as error:  # a client may be of any shape; the program continues unwatched
        logger.warning("HUD: calls of a %s cannot be shown: %r", type(client).__name__, error)
    return client


def _wrap_resource(client: Any, path: str, hud: Publisher, step: Step | None) -> bool:
    """Wrap the methods of one resource; return whether it has any."""
    # A client may refuse a resource for which it has no credentials.
    resource = quiet.attempt(path, _resource_at, client, path)
    wrapped = [_wrap(resource, name, hud, lambda original: _watched(original, hud, step)) for name in _METHODS]
    return any(wrapped)


def _resource_at(client: Any, path: str) -> Any:
    for name in path.split("."):
        client = getattr(client, name, None)
        _forget_kept(client)
    return client


def _forget_kept(thing: Any) -> None:
    for name in _KEPT:
        if hasattr(type(thing), name):
            vars(thing).pop(name, None)


def _wrap(thing: Any, name: str, hud: Publisher, wrap: Callable[[Any], Any]) -> bool:
    original = getattr(thing, name, None)
    if not callable(original):
        return False
    known = getattr(original, "__dict__", {}).get("_hud", ())
    if not any(publisher is hud for publisher in known):
        wrapped = wrap(original)
        wrapped._hud = (*known, hud)
        setattr(thing, name, wrapped)
    return True


def _deriving(original: Callable[..., Any], hud: Publisher, step: Step | None) -> Callable[..., Any]:
    @functools.wraps(original)
    def derive(*args: Any, **kwargs: Any) -> Any:
        return watch_openai(original(*args, **kwargs), hud, step=step)

    return derive


def _watched(original: Callable[..., Any], hud: Publisher, step: Step | None) -> Callable[..., Any]:
    @functools.wraps(original)
    def create(*args: Any, **kwargs: Any) -> Any:
        call = quiet.attempt("reading a call", _begin, hud, step, args, kwargs)
        if call is None:
            return original(*args, **kwargs)
        with call.asking():
            result = original(*args, **kwargs)
        return call.take_awaited(result) if inspect.iscoroutine(result) else call.take(result)

    @functools.wraps(original)
    async def create_async(*args: Any, **kwargs: Any) -> Any:
        return await create(*args, **kwargs)

    return create_async if inspect.iscoroutinefunction(original) else create


def _begin(hud: Publisher, step: Step | None, args: Sequence[Any], kwargs: Mapping[str, Any]) -> _Call | None:
    """Return the call with its question; None if there is nothing to show."""
    if any(publisher is hud for publisher in _inside.get()) or hud.status in ("disabled", "closed"):
        return None
    question = read_question(args, kwargs)
    if question is None:
        return None
    return _Call(hud, question, str(kwargs.get("model") or ""), quiet.attempt("step()", step) if step else None)


@dataclass(slots=True)
class _Call:
    """One call from its question to the end of its answer."""

    hud: Publisher
    question: Question
    model: str
    step: int | None
    began_at: float = field(default_factory=time.perf_counter)
    answer: Answer = field(default_factory=Answer)
    first_at: float | None = None
    last_at: float | None = None
    error: str | None = None
    is_reading: bool = False
    is_over: bool = False

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """Mark the watched call as running, and publish it if it raises."""
        token = _inside.set((*_inside.get(), self.hud))
        try:
            yield
        except BaseException as error:
            self.fail(error)
            raise
        finally:
            _inside.reset(token)

    def take(self, result: Any) -> Any:
        """Publish a finished answer, or follow a stream; return the result for the caller."""
        followed = quiet.attempt("reading an answer", self._follow, result)
        if followed is not None:
            return followed
        self.publish()
        return result

    async def take_awaited(self, pending: Any) -> Any:
        """The same for an asynchronous client's call."""
        with self.asking():
            result = await pending
        return self.take(result)

    def _follow(self, result: Any) -> Any | None:
        """Return the caller's object whose end will publish the call; None if the answer was complete and is read."""
        if hasattr(type(result), "add_done_callback"):  # a task or a future stays one
            result.add_done_callback(self._take_done)
            return result
        if isinstance(field_of(result, "choices"), list):  # a whole answer; a mock of one has every other attribute
            self.answer.read(result)
            return None
        inner = getattr(result, "_iterator", None)
        if _is_stream(inner):  # the SDK's Stream and AsyncStream read from this attribute
            result._iterator = self._tap(inner)
            self._end_with(getattr(result, "response", None))
            return result
        if _is_stream(result):
            if type(result).__module__.partition(".")[0] == "openai":
                internal = f"{type(result).__name__}._iterator"
                report_missing("openai", internal, "watched streams are proxies, so type(stream) differs")
            return self._tap(result)
        response: Any = getattr(result, "http_response", None)
        is_closed = getattr(response, "is_closed", None)
        if is_closed is False:
            self._read_along(response)
            return result
        self.answer.read(json.loads(response.content) if is_closed is True else result)
        return None

    def _take_done(self, future: Any) -> None:
        try:
            self.take(future.result())
        except BaseException as error:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Publish a call that raised."""
        self.error = explain(error)[:500]
        self.publish()

    def stop(self) -> None:
        """Publish a call whose answer the caller does not read to its end."""
        if not self.is_over and not self.is_reading:
            if not self.answer.is_finished:
                self.error = "the caller stopped reading"
            self.publish(self.last_at)

    def read(self, chunk: Any) -> None:
        """Process a chunk or an event of a stream."""
        self.last_at = time.perf_counter()
        if quiet.attempt("reading a chunk", self.answer.read, chunk) and self.first_at is None:
            self.first_at = self.last_at

    def _tap(self, stream: Any) -> Any:
        return (AsyncTap if hasattr(stream, "__anext__") else Tap)(stream, self, self.read, self.publish)

    def _end_with(self, response: Any) -> None:
        """Publish when the caller closes the connection before the answer's end."""
        for name in ("close", "aclose"):
            original = getattr(response, name, None)
            if callable(original):
                with contextlib.suppress(AttributeError, TypeError):
                    setattr(response, name, _then(original, self))

    def _read_along(self, response: Any) -> None:
        """Read along while the caller reads a raw response (`with_raw_response`, `with_streaming_response`)."""
        body = _Body(self, "event-stream" in str(response.headers.get("content-type")))
        for name, tap in (("iter_bytes", Tap), ("aiter_bytes", AsyncTap)):
            original = getattr(response, name)
            setattr(response, name, functools.partial(body.tapped, original, tap))
        self._end_with(response)

    def publish(self, ended_at: float | None = None) -> None:
        """Publish the call, once, even if the stream ends several times."""
        if not self.is_over:
            self.is_over = True
            quiet.attempt("showing a call", self._publish, ended_at or time.perf_counter())

    def _publish(self, ended_at: float) -> None:
        pictures = [_decoded(picture) for picture in self.question.pictures]
        facts: dict[str, Any] = {"model": self.model, **self.answer.facts()}
        if self.error is not None:
            facts["error"] = self.error
        if self.first_at is not None:
            facts["first_token_ms"] = round((self.first_at - self.began_at) * 1000, 1)
        if self.question.earlier:
            facts["earlier_pictures"] = self.question.earlier
        self.hud.vision(
            pictures if len(pictures) > 1 else pictures[0],
            prompt=self.question.prompt or None,
            response=self.answer.text(),
            response_time_ms=(ended_at - self.began_at) * 1000,
            step=self.step,
            **facts,
        )


class _Body:
    """Reads the bytes of a raw response as they come: events at once, JSON at its end."""

    def __init__(self, call: _Call, is_events: bool) -> None:
        self._call, self._is_events, self._kept = call, is_events, bytearray()

    def read(self, piece: Any) -> None:
        if len(self._kept) < MAX_BODY_BYTES:
            self._kept += piece
        if self._is_events:
            *lines, rest = bytes(self._kept).split(b"\n")
            self._kept = bytearray(rest)
            for line in lines:
                if line.startswith(b"data:"):
                    self._read_event(line[5:].strip())

    def _read_event(self, data: bytes) -> None:
        if data == b"[DONE]":  # the SDK reads no further
            self._call.publish()
            return
        with contextlib.suppress(ValueError):
            self._call.read(json.loads(data))

    def end(self) -> None:
        if not self._is_events:
            with contextlib.suppress(ValueError):
                self._call.answer.read(json.loads(bytes(self._kept)))
        self._call.publish()

    def tapped(self, original: Callable[..., Any], tap: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call the method that returns the response's bytes, and read them too."""
        return tap(original(*args, **kwargs), self._call, self.read, self.end)


def _then(close: Callable[..., Any], call: _Call) -> Callable[..., Any]:
    """Return a `close` or `aclose` that also ends the call."""

    @functools.wraps(close)
    def close_and_stop(*args: Any, **kwargs: Any) -> Any:
        try:
            return close(*args, **kwargs)  # the connection of an asynchronous client closes when this is awaited
        finally:
            call.stop()

    return close_and_stop


def _decoded(picture: str) -> str | bytes:
    """The bytes of a small and plain `data:` URL; of anything else the text, which the sender thread reads."""
    head, _, body = picture.partition(",")
    if len(picture) <= MAX_EAGER_CHARS and head.startswith("data:image/") and head.endswith(";base64"):
        with contextlib.suppress(ValueError):
            return binascii.a2b_base64(body, strict_mode=True)
    return picture


def _is_stream(thing: Any) -> bool:
    return hasattr(thing, "__next__") or hasattr(thing, "__anext__")
