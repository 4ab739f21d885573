"""Taps: transparent proxies of streams that report every chunk to a call.

A tap looks like its stream in every way but `type(…)`: attributes, methods, `isinstance`, iteration, context managers.
Called by `openai_watch`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Call(Protocol):
    """Reports how a stream ends.

    Attributes:
        is_reading: whether the caller waits for the next chunk; a connection that is closed meanwhile is the stream's
            own end.
    """

    is_reading: bool

    def fail(self, error: BaseException) -> None:
        """The stream raised."""

    def stop(self) -> None:
        """The caller stopped reading."""


class _Transparent:
    """Delegates to the stream; the subclasses add reports to the methods that read or end it."""

    __slots__ = ("_hud_call", "_hud_end", "_hud_read", "_hud_stream")

    def __init__(self, stream: Any, call: Call, read: Callable[[Any], None], end: Callable[[], None]) -> None:
        """Proxy `stream`; `read` is called with each chunk, `end` at the end of the stream."""
        for name, value in (("stream", stream), ("call", call), ("read", read), ("end", end)):
            object.__setattr__(self, f"_hud_{name}", value)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self._hud_stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hud_stream, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._hud_stream, name, value)

    def __repr__(self) -> str:
        return repr(self._hud_stream)

    def __del__(self) -> None:
        self._hud_call.stop()


class _Reading:
    """The time in which the caller waits for a chunk; it reports how that ends, unless with a chunk."""

    __slots__ = ("_call", "_end")

    def __init__(self, call: Call, end: Callable[[], None]) -> None:
        self._call, self._end = call, end

    def __enter__(self) -> None:
        self._call.is_reading = True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, (StopIteration, StopAsyncIteration)):
            self._end()
        elif error is not None:
            self._call.fail(error)
        self._call.is_reading = False


class Tap(_Transparent):
    """A synchronous stream."""

    __slots__ = ()

    def __iter__(self) -> Tap:
        return self

    def __next__(self) -> Any:
        with _Reading(self._hud_call, self._hud_end):
            chunk = next(self._hud_stream)
        self._hud_read(chunk)
        return chunk

    def close(self) -> Any:
        """Close the stream."""
        try:
            return self._hud_stream.close()
        finally:
            self._hud_call.stop()

    def __enter__(self) -> Any:
        entered = self._hud_stream.__enter__()
        return self if entered is self._hud_stream else entered

    def __exit__(self, *error: Any) -> Any:
        try:
            return self._hud_stream.__exit__(*error)
        finally:
            self._hud_call.stop()


class AsyncTap(_Transparent):
    """An asynchronous stream."""

    __slots__ = ()

    def __aiter__(self) -> AsyncTap:
        return self

    async def __anext__(self) -> Any:
        with _Reading(self._hud_call, self._hud_end):
            chunk = await self._hud_stream.__anext__()
        self._hud_read(chunk)
        return chunk

    async def aclose(self) -> Any:
        """Close the stream."""
        try:
            return await self._hud_stream.aclose()
        finally:
            self._hud_call.stop()

    async def __aenter__(self) -> Any:
        entered = await self._hud_stream.__aenter__()
        return self if entered is self._hud_stream else entered

    async def __aexit__(self, *error: Any) -> Any:
        try:
            return await self._hud_stream.__aexit__(*error)
        finally:
            self._hud_call.stop()
