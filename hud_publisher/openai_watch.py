"""`watch_openai`: shows what a vision LLM was shown and what it said, without a line more at the call.

Wraps `client.chat.completions.create` (and `parse`) of an OpenAI-compatible client, synchronous or asynchronous. Every
call that carries a picture (a `data:` URL) is published with prompt, answer, latency, tokens and errors. The caller
gets exactly what it would have got: the same result, the same stream, the same exception, and nothing of ours raises.
Loads no SDK: it knows messages and answers by their shape.
"""

from __future__ import annotations

import base64
import functools
import inspect
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hud_publisher.publisher import Publisher

logger = logging.getLogger("hud_publisher")

Client = TypeVar("Client")

#: Set while a watched call runs: a client's `parse` may call its own `create`, which is the same call.
_is_inside: ContextVar[bool] = ContextVar("hud_is_inside", default=False)
#: Of an answer that never ends no more is kept than can be shown.
MAX_CHUNKS = 10_000


def watch_openai(client: Client, hud: Publisher, *, step: Callable[[], int | None] | None = None) -> Client:
    """Publish every chat completion of this client that carries a picture.

    Never raises, and costs a call some microseconds; calls without a picture are passed on as they are.

    Args:
        client: `OpenAI`, `AsyncOpenAI` or anything with `chat.completions.create`; it is changed in place.
        hud: where to.
        step: asked at each call for the environment steps sampled so far.

    Returns:
        The same client.
    """
    try:
        completions = client.chat.completions  # type: ignore[attr-defined]
        for name in ("create", "parse"):
            original = getattr(completions, name, None)
            if callable(original) and getattr(original, "_hud", None) is not hud:
                setattr(completions, name, _watched(original, hud, step))
    except Exception as error:  # whatever the client is, the program goes on without being watched
        logger.warning("HUD: this client's chat completions cannot be watched: %r", error)
    return client


def _watched(original: Callable[..., Any], hud: Publisher, step: Callable[[], int | None] | None) -> Callable[..., Any]:
    @functools.wraps(original)
    def create(*args: Any, **kwargs: Any) -> Any:
        call = None if _is_inside.get() else _begin(hud, step, kwargs)
        if call is None:
            return original(*args, **kwargs)
        token = _is_inside.set(True)
        try:
            result = original(*args, **kwargs)
        except BaseException as error:
            call.fail(error)
            raise
        finally:
            _is_inside.reset(token)
        return call.finish_awaited(result) if inspect.iscoroutine(result) else call.take(result)

    @functools.wraps(original)
    async def create_async(*args: Any, **kwargs: Any) -> Any:
        return await create(*args, **kwargs)

    watched: Callable[..., Any] = create_async if inspect.iscoroutinefunction(original) else create
    watched._hud = hud  # type: ignore[attr-defined]
    return watched


def _begin(hud: Publisher, step: Callable[[], int | None] | None, arguments: Mapping[str, Any]) -> _Call | None:
    """Return what is known before the call; None if there is nothing to show."""
    try:
        found = _find_picture(arguments.get("messages"))
        if found is None or hud.status in ("disabled", "closed"):
            return None
        return _Call(hud, *found, model=str(arguments.get("model", "")), step=step() if step else None)
    except Exception:  # messages may be of any shape, and `step` is the caller's code
        return None


def _find_picture(messages: Any) -> tuple[str, str] | None:
    """Return (data URL, prompt) of the newest message that carries a picture."""
    if not isinstance(messages, Sequence):
        return None
    for message in reversed(messages):
        content = _get(message, "content")
        if not isinstance(content, Sequence) or isinstance(content, str):
            continue
        urls = [url for part in content if (url := _picture_url(part))]
        if urls:
            texts = [text for part in content if isinstance(text := _get(part, "text"), str)]
            return urls[-1], "\n".join(texts)
    return None


def _picture_url(part: Any) -> str | None:
    url = _get(part, "image_url")
    url = url if isinstance(url, str) else _get(url, "url")
    return url if isinstance(url, str) and url.startswith("data:image/") else None


def _get(thing: Any, name: str) -> Any:
    """A field of a mapping or an attribute of an object; None where there is none."""
    return thing.get(name) if isinstance(thing, Mapping) else getattr(thing, name, None)


@dataclass(slots=True)
class _Call:
    """One call on its way."""

    hud: Publisher
    url: str
    prompt: str
    model: str
    step: int | None
    began_at: float = field(default_factory=time.perf_counter)
    first_at: float | None = None
    parts: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    is_over: bool = False

    def take(self, result: Any) -> Any:
        """Publish a finished answer, or listen in on a stream; return what the caller gets."""
        try:
            inner = getattr(result, "_iterator", None)
            if _is_stream(inner):  # the SDK's Stream and AsyncStream read from this attribute
                result._iterator = self._tap(inner)
                return result
            if _is_stream(result):
                return self._tap(result)
            self._read(result)
        except Exception as error:  # an answer may be of any shape
            logger.debug("HUD: an answer could not be read: %r", error)
        self._publish()
        return result

    async def finish_awaited(self, pending: Any) -> Any:
        """The same for an asynchronous client's call."""
        token = _is_inside.set(True)
        try:
            result = await pending
        except BaseException as error:
            self.fail(error)
            raise
        finally:
            _is_inside.reset(token)
        return self.take(result)

    def fail(self, error: BaseException) -> None:
        """Publish a call that raised."""
        try:
            self.facts["error"] = f"{type(error).__name__}: {str(error)[:500]}"
        except Exception:  # an error's text may itself raise
            self.facts["error"] = type(error).__name__
        self._publish()

    def _tap(self, stream: Any) -> Any:
        return self._listen_async(stream) if hasattr(stream, "__anext__") else self._listen(stream)

    def _listen(self, stream: Iterator[Any]) -> Iterator[Any]:
        try:
            for chunk in stream:
                self._read_chunk(chunk)
                yield chunk
        except GeneratorExit:
            self.facts["error"] = "the caller stopped reading"
            raise
        except BaseException as error:
            self.fail(error)
            raise
        finally:
            if inspect.isgenerator(stream):  # its reader stopped, so it cleans up, as it would without us
                stream.close()
            self._publish()

    async def _listen_async(self, stream: AsyncIterator[Any]) -> AsyncIterator[Any]:
        try:
            async for chunk in stream:
                self._read_chunk(chunk)
                yield chunk
        except GeneratorExit:
            self.facts["error"] = "the caller stopped reading"
            raise
        except BaseException as error:
            self.fail(error)
            raise
        finally:
            if inspect.isasyncgen(stream):
                await stream.aclose()
            self._publish()

    def _read(self, answer: Any) -> None:
        answer = _parsed(answer)
        choice = _get(answer, "choices")[0]
        self._read_facts(answer, choice)
        message = _get(choice, "message")
        if text := _get(message, "content"):
            self.parts.append(str(text))
        for tool in _get(message, "tool_calls") or ():
            function = _get(tool, "function")
            self.parts.append(f"{_get(function, 'name')}({_get(function, 'arguments')})")

    def _read_chunk(self, chunk: Any) -> None:
        try:
            choices = _get(chunk, "choices")
            choice = choices[0] if choices else None
            self._read_facts(chunk, choice)
            delta = _get(choice, "delta")
            texts = [_get(delta, "content")]
            for tool in _get(delta, "tool_calls") or ():
                function = _get(tool, "function")
                texts += [_get(function, "name"), _get(function, "arguments")]
            for text in texts:
                if text and len(self.parts) < MAX_CHUNKS:
                    self.first_at = self.first_at or time.perf_counter()
                    self.parts.append(str(text))
        except Exception as error:  # a chunk may be of any shape
            logger.debug("HUD: a chunk could not be read: %r", error)

    def _read_facts(self, answer: Any, choice: Any) -> None:
        usage = _get(answer, "usage")
        for name, value in {
            "model": _get(answer, "model"),
            "finish_reason": _get(choice, "finish_reason"),
            "prompt_tokens": _get(usage, "prompt_tokens"),
            "completion_tokens": _get(usage, "completion_tokens"),
        }.items():
            if value is not None:
                self.facts[name] = value

    def _publish(self) -> None:
        """Hand everything to the publisher; once, however often a stream ends."""
        if self.is_over:
            return
        self.is_over = True
        try:
            facts = {"model": self.model, **self.facts}
            if self.first_at is not None:
                facts["first_token_ms"] = round((self.first_at - self.began_at) * 1000, 1)
            self.hud.vision(
                base64.b64decode(self.url.partition(",")[2], validate=True),
                prompt=self.prompt or None,
                response="".join(self.parts) or None,
                response_time_ms=(time.perf_counter() - self.began_at) * 1000,
                step=self.step,
                **facts,
            )
        except Exception as error:  # whatever is wrong with it, it is only not shown
            logger.debug("HUD: a call could not be shown: %r", error)


def _parsed(answer: Any) -> Any:
    """What a raw response (`with_raw_response`) says, if all of it is here; the SDK keeps it for the caller."""
    is_here = getattr(getattr(answer, "http_response", None), "is_closed", False) is True
    return answer.parse() if is_here else answer


def _is_stream(thing: Any) -> bool:
    return hasattr(thing, "__next__") or hasattr(thing, "__anext__")
