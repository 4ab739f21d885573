"""The doctor's check of `/stream`: whether proxies pass events at once, and how long they keep the stream open.

It reads an unused channel, whose few hundred bytes fill no buffer of a proxy. Called by `server`.
"""

from __future__ import annotations

import http.client
import secrets
import time
from collections.abc import Iterator

from hud_publisher.protocol.transport.http_client import Connection, HudServer
from hud_web.doctor.findings import Finding, note, ok, problem

#: The server sends its first events at once; if they take longer than this, a proxy buffers them.
BUFFERED_S = 3.0
#: Proxies without `http-no-delay` delay every event by 100 to 200 ms, others by a timer of a second.
DELAYED_S = 1.0
#: Above the server's time between heartbeats, 8 s (hud_web.live.hub.HEARTBEAT_S).
HEARTBEAT_WITHIN_S = 10.0

_BUFFERING_FIX = (
    "turn buffering off for /stream: nginx `proxy_buffering off; proxy_http_version 1.1;`, haproxy `option "
    "http-no-delay`, and no compression of text/event-stream"
)


_CUT_FIX = (
    "raise the timeouts in between above 10 s: haproxy `timeout server` and `timeout client`, nginx "
    "`proxy_read_timeout`, OpenShift the Route's annotation haproxy.router.openshift.io/timeout; if there is no proxy, "
    "check whether the server has just restarted"
)


def examine_stream(server: HudServer, listen_s: float) -> Iterator[Finding]:
    """Yield the findings about the stream.

    Args:
        server: its address.
        listen_s: how long to listen after the first event.
    """
    connection = server.connect(BUFFERED_S)
    began_s = time.monotonic()
    try:
        connection.request(
            "GET", f"{server.path}/stream?frames=0&channel=doctor-{secrets.token_hex(6)}",
            # The headers of a browser: a proxy compresses only for clients that accept it.
            headers=server.headers() | {"Accept": "text/event-stream", "Accept-Encoding": "gzip, deflate, br, zstd"},
        )  # fmt: skip
        response = connection.getresponse()
        if response.status == 401:  # as for every page of this server, which the caller has reported
            return
        if response.status != 200:
            yield problem("stream", f"/stream answered {response.status}", "stream-refused", "read the server's log")
            return
        first = response.read1(4096)
        if coding := response.headers.get("content-encoding"):
            yield problem("stream", f"the stream came compressed, as {coding}", "buffered", _BUFFERING_FIX)
        elif not first:
            yield problem("stream", "/stream ended before its first event", "stream-cut", _CUT_FIX)
        else:
            took_s = time.monotonic() - began_s
            if took_s > DELAYED_S:
                yield note("stream", f"the first event took {took_s:.1f} s", "delayed", _BUFFERING_FIX)
            yield _listen(connection, response, listen_s)
    except TimeoutError:
        yield problem(
            "stream", f"no event came within {BUFFERED_S:.0f} s, though the server answers other requests: a proxy "
            "buffers the stream", "buffered", _BUFFERING_FIX,
        )  # fmt: skip
    except (OSError, http.client.HTTPException) as error:
        yield problem("stream", f"/stream failed: {error}", "stream-cut", _CUT_FIX)
    finally:
        connection.close()


def _listen(connection: Connection, response: http.client.HTTPResponse, listen_s: float) -> Finding:
    """Read the stream until the time is over or the stream ends."""
    began_s = last_s = time.monotonic()
    heartbeats = 0
    connection.limit_answer(listen_s)
    while True:
        try:
            data = response.read1(4096)
        except TimeoutError:  # the time is over, and the stream is still open
            break
        except (OSError, http.client.HTTPException):
            data = b""
        if not data:
            return problem(
                "stream", f"the stream ended after {time.monotonic() - last_s:.0f} s without data", "stream-cut",
                _CUT_FIX,
            )  # fmt: skip
        last_s = time.monotonic()
        heartbeats += data.count(b": heartbeat")
    if listen_s > HEARTBEAT_WITHIN_S and not heartbeats:
        return problem("stream", f"no heartbeat came within {listen_s:.0f} s", "buffered", _BUFFERING_FIX)
    open_s = time.monotonic() - began_s
    return ok(
        "stream", f"events arrive at once; the stream stayed open for {open_s:.0f} s with {heartbeats} heartbeats"
    )
