"""The doctor's look at `/stream`: whether what stands in between lets events through at once, and for how long.

It watches a channel of its own: what comes there is a few hundred bytes, which no buffer passes on for being full.
Called by `doctor_server`.
"""

from __future__ import annotations

import http.client
import secrets
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hud_web.findings import Finding, note, ok, problem

if TYPE_CHECKING:
    from hud_web.doctor_server import Place

#: The server sends its first events at once; so long after the request, something in between is holding them.
BUFFERED_S = 3.0
#: Proxies without `http-no-delay` hold every event for 100 to 200 ms, others by a timer of a second.
DELAYED_S = 1.0
#: Above the server's time between heartbeats, 8 s (hud_web.hub.HEARTBEAT_S).
HEARTBEAT_WITHIN_S = 10.0

_BUFFERING_FIX = (
    "turn buffering off for /stream: nginx `proxy_buffering off; proxy_http_version 1.1;`, haproxy `option "
    "http-no-delay`, and no compression of text/event-stream"
)


def examine_stream(place: Place, listen_s: float) -> Iterator[Finding]:
    """Yield what there is to say of the stream.

    Args:
        place: the server.
        listen_s: how long to listen after the first event.
    """
    connection = place.connect(BUFFERED_S)
    began_s = time.monotonic()
    try:
        connection.request(
            "GET", f"{place.path}/stream?frames=0&channel=doctor-{secrets.token_hex(6)}",
            # As browsers ask: what compresses does so only where it may.
            headers=place.headers() | {"Accept": "text/event-stream", "Accept-Encoding": "gzip, deflate, br, zstd"},
        )  # fmt: skip
        response = connection.getresponse()
        if response.status == 401:  # as every page of this server, which the caller has said
            return
        if response.status != 200:
            yield problem("stream", f"/stream answered {response.status}", "stream-refused", "look at the server's log")
            return
        first = response.read1(4096)
    except TimeoutError:
        yield problem(
            "stream", f"no event came within {BUFFERED_S:.0f} s, though the server answers other requests: something "
            "in between collects the stream before it passes it on", "buffered", _BUFFERING_FIX,
        )  # fmt: skip
        return
    except (OSError, http.client.HTTPException) as error:
        yield problem("stream", f"/stream broke off: {error}", "stream-cut", "look at the log of what is in between")
        return
    else:
        took_s = time.monotonic() - began_s
        if not first or response.headers.get("content-encoding"):
            coding = response.headers.get("content-encoding") or "nothing"
            yield problem("stream", f"the stream came as {coding}", "buffered", _BUFFERING_FIX)
            return
        if took_s > DELAYED_S:
            yield note("stream", f"the first event took {took_s:.1f} s", "delayed", _BUFFERING_FIX)
        yield _listen(connection, response, listen_s)
    finally:
        connection.close()


def _listen(connection: http.client.HTTPConnection, response: http.client.HTTPResponse, listen_s: float) -> Finding:
    """Wait for the end of the time or of the stream."""
    began_s = last_s = time.monotonic()
    heartbeats = 0
    while (left_s := began_s + listen_s - time.monotonic()) > 0:
        if connection.sock is not None:
            connection.sock.settimeout(left_s)
        try:
            data = response.read1(4096)
        except TimeoutError:  # so long without data, and the stream is still open
            break
        except (OSError, http.client.HTTPException):
            data = b""
        if not data:
            return problem(
                "stream", f"something in between ended the stream after {time.monotonic() - last_s:.0f} s without data",
                "stream-cut",
                "raise its time-outs above 10 s: haproxy `timeout server` and `timeout client`, nginx "
                "`proxy_read_timeout`, OpenShift the Route's annotation haproxy.router.openshift.io/timeout",
            )  # fmt: skip
        last_s = time.monotonic()
        heartbeats += data.count(b": heartbeat")
    if listen_s > HEARTBEAT_WITHIN_S and not heartbeats:
        return problem("stream", f"no heartbeat came within {listen_s:.0f} s", "buffered", _BUFFERING_FIX)
    return ok("stream", f"events come at once; it stayed open for {listen_s:.0f} s with {heartbeats} heartbeats")
