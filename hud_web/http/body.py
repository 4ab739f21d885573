"""Reads request bodies within limits on size, time and number of values. Called by the endpoints that write.

The size is checked before a byte is read, and the number of values before the body is parsed. A body that takes more
than a few milliseconds to decode is decoded in a thread, so that the event loop is not blocked.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from hud_publisher.protocol.batch_body import parse_json
from hud_publisher.protocol.errors import MalformedError, TooLargeError

#: A picture of MAX_IMAGE_BYTES in base64, and 2 MB for the rest.
MAX_BODY_BYTES = 8 * 1024 * 1024
#: `/api/update_training`: MAX_METRICS_BYTES of fields, which the sender may have written with spaces and escapes.
MAX_METRICS_BODY_BYTES = 1024 * 1024
#: `/api/register_session`: the describing fields of the session may take MAX_INFO_BYTES of it.
MAX_REGISTRATION_BYTES = 256 * 1024
#: `/api/config`: configuration.MAX_CONFIG_BYTES of sections, which the sender may have written with spaces and escapes.
MAX_CONFIG_BODY_BYTES = 512 * 1024
#: Everything else: a session id, a channel, two numbers.
MAX_SMALL_BODY_BYTES = 16 * 1024
#: A publisher's batch arrives in well under a second; a slower body is an attack or a dead connection.
BODY_TIMEOUT_S = 10.0
#: Bodies up to this size are decoded within about 5 ms, in the event loop.
INLINE_BYTES = 16 * 1024
#: Threads that decode bodies: each competes with the event loop for the interpreter.
DECODERS = 2

_LENGTH = re.compile(r"[0-9]{1,19}")
_decoders = ThreadPoolExecutor(DECODERS, "hud-decoder")

T = TypeVar("T")


async def read_body(request: Request, most_bytes: int = MAX_BODY_BYTES) -> bytes:
    """Return the body, decompressed if it is gzip.

    Raises:
        TooLargeError: over `most_bytes`, compressed or decompressed; the rest is not read.
        MalformedError: it came too slowly, was cut off, or is not the gzip that its header announces.
    """
    declared = request.headers.get("content-length", "0")
    if _LENGTH.fullmatch(declared) and int(declared) > most_bytes:
        raise _too_large(int(declared), most_bytes)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for part in request.stream():
                size += len(part)
                if size > most_bytes:
                    raise _too_large(size, most_bytes)
                parts.append(part)
    except TimeoutError as error:
        raise MalformedError(
            f"only {size} bytes of the body came within {BODY_TIMEOUT_S:.0f} s: send less at once"
        ) from error
    except ClientDisconnect as error:
        raise MalformedError("the client closed the connection within the body") from error
    body = b"".join(parts)
    if request.headers.get("content-encoding", "").lower() != "gzip":
        return body
    # 8 kB of gzip may hold 8 MB.
    return await decode(INLINE_BYTES + 1, _unpack, body, most_bytes)


async def read_json(request: Request, most_bytes: int = MAX_SMALL_BODY_BYTES) -> tuple[dict[str, Any], int]:
    """Return the body as a JSON object, and its size in bytes; an empty body is an empty object."""
    body = await read_body(request, most_bytes)
    if not body.strip():
        return {}, 0
    data = await decode(len(body), parse_json, body)
    if not isinstance(data, dict):
        raise MalformedError(f"expected a JSON object, got {type(data).__name__}: send {{…}}")
    return data, len(body)


async def decode(size: int, function: Callable[..., T], *arguments: Any) -> T:
    """Return the result of a function for a body of this size; a large body is decoded in a thread."""
    if size <= INLINE_BYTES:
        return function(*arguments)
    return await asyncio.get_running_loop().run_in_executor(_decoders, function, *arguments)


def _unpack(body: bytes, most_bytes: int) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        data = unpacker.decompress(body, most_bytes + 1)
    except zlib.error as error:
        raise MalformedError(f"the body is not gzip: {error}") from error
    if len(data) > most_bytes:
        raise _too_large(len(data), most_bytes)
    if not unpacker.eof:
        raise MalformedError("the gzip body is cut short: send it again")
    return data


def _too_large(size: int, most_bytes: int) -> TooLargeError:
    return TooLargeError(f"expected a body of at most {most_bytes} bytes, got {size} or more: send less at once")
