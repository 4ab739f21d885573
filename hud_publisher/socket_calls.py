"""Sends and receives on a socket without giving the interpreter away, where that takes no waiting.

Python gives its lock away around every call of a socket, even one that is over at once. A thread beside one that trains
gets it back 5 ms later, and the other has been interrupted once more: twice for each batch. `ctypes.PyDLL` calls the C
library without that. Where it cannot be used (TLS, other systems) nothing is sent or received here, and the caller does
it in the usual way. Called by hud_publisher.redis_client, in the publisher's thread.
"""

from __future__ import annotations

import ctypes
import socket
import sys
from typing import Any

#: Above this a call would hold the interpreter for longer than it takes to give it away.
MOST_BYTES = 64 * 1024
RECEIVE_BYTES = 1024

_library: Any = None
if sys.platform == "linux":
    try:
        _library = ctypes.PyDLL(None)
        _library.send.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)
        _library.send.restype = ctypes.c_ssize_t
        _library.recv.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        _library.recv.restype = ctypes.c_ssize_t
        _FLAGS = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
    except (OSError, AttributeError):  # a Python without a C library that can be asked
        _library = None


def send_now(sock: socket.socket, data: bytes) -> int:
    """Send what the kernel takes at once; return how many bytes: 0 where it takes none, or for any error."""
    if _library is None or type(sock) is not socket.socket or len(data) > MOST_BYTES:
        return 0
    sent: int = _library.send(sock.fileno(), data, len(data), _FLAGS)
    return max(0, sent)


def receive_now(sock: socket.socket) -> bytes:
    """Return what has come; nothing where nothing has, or for any error."""
    if _library is None or type(sock) is not socket.socket:
        return b""
    buffer = ctypes.create_string_buffer(RECEIVE_BYTES)
    count = _library.recv(sock.fileno(), buffer, RECEIVE_BYTES, _FLAGS)
    return buffer.raw[:count] if count > 0 else b""
