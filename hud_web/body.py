"""Reads request bodies with a limit on size and time (uvicorn has neither). Called by the endpoints that write."""

from __future__ import annotations

import asyncio
import json
import zlib
from typing import Any

from starlette.requests import ClientDisconnect, Request

from hud_publisher.protocol.errors import MalformedError, TooLargeError

#: A picture of MAX_IMAGE_BYTES in base64, and room for the rest.
MAX_BODY_BYTES = 8 * 1024 * 1024
#: A publisher's whole batch comes in well under a second; a body that drips is an attack or a dead link.
BODY_TIMEOUT_S = 10.0


async def read_body(request: Request) -> bytes:
    """Return the body, unpacked where it came as gzip.

    Raises:
        TooLargeError: over MAX_BODY_BYTES, packed or unpacked; the rest is not read.
        MalformedError: it came too slowly, was cut off, or is not the gzip it says.
    """
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > MAX_BODY_BYTES:
        raise _too_large(int(declared))
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for part in request.stream():
                size += len(part)
                if size > MAX_BODY_BYTES:
                    raise _too_large(size)
                parts.append(part)
    except TimeoutError as error:
        raise MalformedError(f"expected the body within {BODY_TIMEOUT_S:.0f} s, got {size} bytes of it") from error
    except ClientDisconnect as error:
        raise MalformedError("expected a whole body, got a closed connection") from error
    body = b"".join(parts)
    return _unpack(body) if request.headers.get("content-encoding", "").lower() == "gzip" else body


async def read_json(request: Request) -> dict[str, Any]:
    """Return the body as a JSON object; an empty body is an empty object."""
    body = await read_body(request)
    if not body.strip():
        return {}
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"expected a JSON object, got something else: {str(error)[:200]}") from error
    if not isinstance(data, dict):
        raise MalformedError(f"expected a JSON object, got {type(data).__name__}: send {{…}}")
    return data


def _unpack(body: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        data = unpacker.decompress(body, MAX_BODY_BYTES + 1)
    except zlib.error as error:
        raise MalformedError(f"expected a gzip body, got something else: {error}") from error
    if len(data) > MAX_BODY_BYTES:
        raise _too_large(len(data))
    if not unpacker.eof:
        raise MalformedError("expected a whole gzip body, got one that is cut short")
    return data


def _too_large(size: int) -> TooLargeError:
    return TooLargeError(
        f"expected a body of at most {MAX_BODY_BYTES} bytes, got {size} or more: send smaller pictures"
    )
