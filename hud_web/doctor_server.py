"""The doctor's look at a HUD server, from outside in: name, port, TLS, health, Redis, token, session, stream.

Each step needs the ones before it, so the first problem ends the way. Called by `doctor`.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from hud_publisher.protocol.settings import Settings
from hud_web.doctor_stream import examine_stream
from hud_web.findings import Finding, clock_skew, note, ok, problem
from hud_web.version import distribution_version

TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server is, as its URL says, and who asks."""

    url: str
    is_tls: bool
    host: str
    port: int
    path: str
    token: str | None

    def connect(self, timeout_s: float = TIMEOUT_S) -> http.client.HTTPConnection:
        """Return a connection that is not open yet; proxies of the environment are not used, as by publishers."""
        kind = http.client.HTTPSConnection if self.is_tls else http.client.HTTPConnection
        return kind(self.host, self.port, timeout=timeout_s)

    def headers(self) -> dict[str, str]:
        """Return what a client with our token sends."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's answer; `body` is None where it is not JSON."""

    status: int
    body: dict[str, Any] | None
    took_s: float

    @property
    def said(self) -> str:
        """The error's own words."""
        body = self.body or {}
        return str(body.get("detail") or body.get("error") or "")[:300]


def examine_server(url: str, settings: Settings, *, listen_s: float) -> Iterator[Finding]:
    """Yield what there is to say of the server at `url`."""
    parts = urlsplit(url)
    is_tls = parts.scheme == "https"
    tokens = settings.tokens or settings.view_tokens
    place = Place(
        url, is_tls, parts.hostname or "", parts.port or (443 if is_tls else 80), parts.path.rstrip("/"),
        tokens[0] if tokens else None,
    )  # fmt: skip
    trouble = _reach(place)
    if trouble is not None:
        yield trouble
        return
    health = ask(place, "GET", "/health")
    if health is None or (health.body or {}).get("status") != "healthy":
        yield _not_a_hud(place, health)
        return
    yield ok("server", f"{url} is healthy, {health.took_s * 1000:.0f} ms")
    trouble = None
    for finding in _version_and_redis(place):
        yield finding
        trouble = finding if finding.level == "problem" else trouble
    if trouble is not None:
        return
    yield from _token(place, settings)
    yield from _session(place, settings)
    yield from examine_stream(place, listen_s)


def ask(place: Place, method: str, path: str, body: bytes | None = None) -> Answer | None:
    """Return an answer, None where there was none."""
    connection = place.connect()
    headers = place.headers() | ({"Content-Type": "application/json"} if body is not None else {})
    began_s = time.monotonic()
    try:
        connection.request(method, place.path + path, body, headers)
        response = connection.getresponse()
        text = response.read(4 * 1024 * 1024)
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    try:
        parsed = json.loads(text)
    except ValueError:
        parsed = None
    return Answer(response.status, parsed if isinstance(parsed, dict) else None, time.monotonic() - began_s)


def _reach(place: Place) -> Finding | None:
    """DNS, TCP and TLS; None where all three are well."""
    where = f"{place.host} port {place.port}"
    try:
        socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    except OSError:
        return problem(
            "server", f"the name {place.host} is not known here", "unknown-host",
            "correct the host in HUD_URL; within Kubernetes it is "
            "http://zelda-hud-service.NAMESPACE.svc.cluster.local:8086, from outside the Route's https address",
        )  # fmt: skip
    try:
        with socket.create_connection((place.host, place.port), timeout=TIMEOUT_S) as link:
            if place.is_tls:
                with ssl.create_default_context().wrap_socket(link, server_hostname=place.host):
                    pass
    except ssl.SSLCertVerificationError as error:
        return problem(
            "server", f"the certificate of {where} is not trusted here: {error.verify_message}", "tls-untrusted",
            "set SSL_CERT_FILE to a file with the certificate of your own authority",
        )  # fmt: skip
    except ssl.SSLError as error:
        return problem(
            "server", f"{where} does not speak TLS: {error.reason}", "tls",
            "write http:// instead of https:// for the Service, https:// for the Route",
        )  # fmt: skip
    except ConnectionRefusedError:
        return problem(
            "server", f"nothing listens at {where}", "wrong-port",
            "correct the port in HUD_URL (the HUD's is 8086), or start the server: `hud up`; on Kubernetes look "
            "whether the pods are ready: kubectl get pods -l app=zelda-hud",
        )  # fmt: skip
    except OSError as error:
        return problem(
            "server", f"{where} does not answer: {error}", "no-way",
            "look for a firewall or NetworkPolicy in between; a pod of another namespace needs that namespace to carry "
            'the label zelda-hud/training: "true"',
        )  # fmt: skip
    return None


def _not_a_hud(place: Place, answer: Answer | None) -> Finding:
    if answer is None:
        found = "does not speak HTTP"
    elif answer.status == 400 and not answer.body:
        found = "answered 400: it does not answer to this host name, or wants TLS"
    elif answer.status >= 500:
        return problem(
            "server", f"{place.url} answered {answer.status}: the way is there, the HUD behind it is not", "no-backend",
            "look whether its pods run and are ready: kubectl get pods -l app=zelda-hud",
        )  # fmt: skip
    else:
        found = f"answered {answer.status}, and not as a HUD does"
    return problem(
        "server", f"{place.url}/health {found}", "not-a-hud",
        "HUD_URL leads to another program: name the HUD's own host and port (8086)",
    )  # fmt: skip


def _version_and_redis(place: Place) -> Iterator[Finding]:
    ready = ask(place, "GET", "/ready")
    if ready is None:
        yield problem("server", "/ready did not answer", "no-backend", "look at the server's log")
        return
    if ready.status == 404:
        yield problem(
            "version", f"{place.url} is a HUD of the old kind: it knows no /ready", "old-server",
            "deploy this version (docs/migration.md); its page and its clients go on working",
        )  # fmt: skip
        return
    if ready.status != 200:
        yield _server_without_redis(ready)
        return
    yield ok("redis", "the server has Redis")
    ours, theirs = distribution_version(), str((ready.body or {}).get("version", ""))
    if ours.split(".")[:2] != theirs.split(".")[:2]:
        yield problem(
            "version", f"the server is rl-hud {theirs or 'of an early version'}, here is {ours}", "old-server",
            "install the same version on both sides, the server's first",
        )  # fmt: skip
    else:
        yield ok("version", f"rl-hud {theirs} there, {ours} here")


def _server_without_redis(ready: Answer) -> Finding:
    said = ready.said
    if any(word in said for word in ("AuthenticationError", "WRONGPASS", "NOAUTH")):
        return problem(
            "redis", "Redis refuses the server's password", "server-redis-password",
            "put the right password into the REDIS_URL of the server; on Kubernetes restart its pods after a change of "
            "the Secret: kubectl rollout restart deployment/zelda-hud",
        )  # fmt: skip
    if "NOPERM" in said:
        return problem(
            "redis", f"Redis does not let the server's user do its work: {said}", "server-redis-rights",
            "give it the rights of k8s/base/redis/start.sh",
        )  # fmt: skip
    if "going away" in said:
        return note("server", "this replica is just going away; ask again in a moment", "draining")
    return problem(
        "redis", f"the server has no Redis: {said}", "server-no-redis",
        "start Redis, or correct the server's REDIS_URL; run `hud doctor` with that REDIS_URL beside the server",
    )  # fmt: skip


def _token(place: Place, settings: Settings) -> Iterator[Finding]:
    """Ask to write without a session: the answer tells whether we would be let, and nothing is changed."""
    answer = ask(place, "POST", "/api/heartbeat", b"{}")
    if answer is None:
        yield problem("token", "/api/heartbeat did not answer", "no-backend", "look at the server's log")
    elif answer.status == 401:
        fix = "set HUD_TOKEN of the training job to the server's"
        if settings.tokens:
            yield problem(
                "token", "the server does not take our HUD_TOKEN: it expired or was changed", "token-refused",
                f"{fix}; to change it without a gap, give the server both for a while, separated by a comma",
            )  # fmt: skip
        else:
            text = "the server wants a token for writing, and HUD_TOKEN is not set here"
            yield problem("token", text, "token-missing", fix)
    elif answer.status == 403 and (answer.body or {}).get("error") == "View only":
        yield note(
            "token", "this address is for looking only: good for the page, useless for training", "view-only",
            "as HUD_URL of a training job use the Service: http://zelda-hud-service.NAMESPACE.svc.cluster.local:8086",
        )  # fmt: skip
    else:
        yield ok("token", "writing is allowed" + (" with our token" if settings.tokens else ""))


def _session(place: Place, settings: Settings) -> Iterator[Finding]:
    before_s = time.time()
    answer = ask(place, "GET", f"/api/state?channel={quote(settings.channel)}")
    after_s = time.time()
    if answer is None or answer.status != 200 or not answer.body:
        if answer is not None and answer.status == 401:
            yield problem(
                "session", "the server shows itself only to who has its viewing token", "view-token",
                "set HUD_VIEW_TOKEN here, or open the link /?token=… once in the browser",
            )  # fmt: skip
        else:
            yield problem("session", "/api/state did not answer", "no-backend", "look at the server's log")
        return
    server_s = float(answer.body.get("server_time_ms", 0)) / 1000
    yield from clock_skew("the HUD server", server_s - (before_s + after_s) / 2, (after_s - before_s) / 2)
    yield _holder(answer.body.get("session") or {}, settings)


def _holder(session: dict[str, Any], settings: Settings) -> Finding:
    channel, name, sid = settings.channel, session.get("name"), session.get("sid")
    status = session.get("status")
    if status == "live":
        return note(
            "session", f"channel {channel} is held by run {name!r} (session {sid}), renewed for the next "
            f"{session.get('ttl_s')} s: another run is refused for as long as it lives", "held",
            "if that is not your run: wait, choose another HUD_CHANNEL, or end it with `hud reset`",
        )  # fmt: skip
    if status == "lapsed":
        return note(
            "session", f"run {name!r} (session {sid}) stopped renewing its session without an end: it died, or it is "
            "cut off", "lapsed", "look at the training job; run `hud doctor` in its pod",
        )  # fmt: skip
    if status == "waiting":
        return note(
            "session", f"no run has ever registered on channel {channel}", "no-run",
            "is HUD_URL or REDIS_URL set in the job's runtime environment, and HUD_CHANNEL the same?",
        )  # fmt: skip
    return ok("session", f"channel {channel} is free; its last run {name!r} has ended ({session.get('ended_by')})")
