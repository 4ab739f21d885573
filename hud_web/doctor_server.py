"""The doctor's look at a HUD server, from outside in: name, port, TLS, health, Redis, token, session, stream.

What later steps need ends the way where it is missing. Called by `doctor`.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from hud_publisher.http_sink import parse_hud_url
from hud_publisher.protocol.errors import ConfigError
from hud_publisher.protocol.settings import Settings
from hud_web.doctor_stream import examine_stream
from hud_web.findings import Finding, clock_skew, evicts, note, ok, problem
from hud_web.reach import Blocked, reach, speaks_tls
from hud_web.version import distribution_version

TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server is, as its URL says, and who asks."""

    is_tls: bool
    host: str
    port: int
    path: str
    token: str | None

    @property
    def url(self) -> str:
        """Return it as one writes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.is_tls else 'http'}://{host}:{self.port}{self.path}"

    def connect(self, timeout_s: float = TIMEOUT_S) -> http.client.HTTPConnection:
        """Return a connection that is not open yet; proxies of the environment are not used, as by publishers."""
        kind = http.client.HTTPSConnection if self.is_tls else http.client.HTTPConnection
        return kind(self.host, self.port, timeout=timeout_s)

    def headers(self) -> dict[str, str]:
        """Return what a client with our token sends."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's answer; `body` is None where it is not JSON, `location` where it does not send on."""

    status: int
    body: dict[str, Any] | None
    text: str
    location: str | None
    took_s: float

    @property
    def said(self) -> str:
        """The error's own words."""
        body = self.body or {}
        return str(body.get("detail") or body.get("error") or "")[:300]


def examine_server(url: str, settings: Settings, *, listen_s: float) -> Iterator[Finding]:
    """Yield what there is to say of the server at `url`."""
    tokens = settings.tokens or settings.view_tokens
    try:
        place = Place(*parse_hud_url(url), tokens[0] if tokens else None)
    except ConfigError as error:
        yield problem("settings", str(error), "settings", "correct HUD_URL: http://host:8086")
        return
    blocked = reach(place.host, place.port, TIMEOUT_S, ssl.create_default_context() if place.is_tls else None)
    if blocked is not None:
        yield _explain(blocked, place)
        return
    health = ask(place, "GET", "/health")
    if not _is_hud(health):
        yield _not_a_hud(place, health)
        return
    assert health is not None
    yield ok("server", f"{place.url} is healthy, {health.took_s * 1000:.0f} ms")
    ready = ask(place, "GET", "/ready")
    if ready is None or ready.status != 200:
        yield _not_ready(place, ready)
        return
    yield _redis_of(ready)
    yield _version_of(ready)
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
    return Answer(
        response.status, parsed if isinstance(parsed, dict) else None, text[:2000].decode("utf-8", "replace"),
        response.headers["Location"] if 300 <= response.status < 400 else None, time.monotonic() - began_s,
    )  # fmt: skip


def _is_hud(health: Answer | None) -> bool:
    return health is not None and (health.body or {}).get("status") == "healthy"


def _explain(blocked: Blocked, place: Place) -> Finding:
    """What it means that a server is not even reached."""
    where = f"{place.host} port {place.port}"
    match blocked.by:
        case "unknown name":
            return problem(
                "server", f"the name {place.host} is not known here", "unknown-host",
                "correct the host in HUD_URL; within Kubernetes it is "
                "http://zelda-hud-service.NAMESPACE.svc.cluster.local:8086, from outside the Route's https address",
            )  # fmt: skip
        case "nothing listens":
            return problem(
                "server", f"nothing listens at {where}", "wrong-port",
                "correct the port in HUD_URL (the HUD's is 8086), or start the server: `hud up`; on Kubernetes look "
                "whether the pods are ready: kubectl get pods -l app=zelda-hud",
            )  # fmt: skip
        case "no way":
            return problem(
                "server", f"{where} does not answer: {blocked.words}", "no-way",
                "look for a firewall or NetworkPolicy in between; a pod of another namespace needs that namespace to "
                'carry the label zelda-hud/training: "true"',
            )  # fmt: skip
        case "no tls":
            return problem(
                "server", f"{where} does not speak TLS: {blocked.words}", "tls",
                "write http:// instead of https:// for the Service, https:// for the Route",
            )  # fmt: skip
        case "untrusted":
            return problem(
                "server", f"the certificate of {where} is not trusted here: {blocked.words}", "tls-untrusted",
                "set SSL_CERT_FILE to a file with the certificate of your own authority, and HUD_URL to a name that "
                "the certificate has",
            )  # fmt: skip


def _not_a_hud(place: Place, answer: Answer | None) -> Finding:
    """What it is that answered, where it is not a HUD that is well."""
    if place.path and _is_hud(ask(replace(place, path=""), "GET", "/health")):
        root = replace(place, path="").url
        text = f"the HUD is at {root}, and HUD_URL goes on with {place.path}"
        return problem("server", text, "wrong-path", f"HUD_URL={root}")
    if not place.is_tls and (answer is None or answer.status == 400) and speaks_tls(place.host, place.port, TIMEOUT_S):
        return problem(
            "server", f"{place.host} port {place.port} speaks TLS, and HUD_URL begins with http://", "tls",
            f"HUD_URL={replace(place, is_tls=True).url}",
        )  # fmt: skip
    if answer is None:
        found = "takes the connection and does not answer by HTTP"
    elif answer.location is not None:
        to = urlsplit(urljoin(place.url, answer.location))
        return problem(
            "server", f"{place.url} answers {answer.status} and sends on to {to.scheme}://{to.netloc}{to.path}",
            "redirected",
            "publishers do not follow: name the HUD itself in HUD_URL. The Route has https:// only; a login in front "
            "of it is for browsers, training uses the Service",
        )  # fmt: skip
    elif answer.status in (401, 403, 407) and not answer.body:
        return problem(
            "server", f"{place.url} answered {answer.status}: something in front of the HUD wants a login", "login",
            "that way is for browsers; in the cluster use the Service: "
            "http://zelda-hud-service.NAMESPACE.svc.cluster.local:8086",
        )  # fmt: skip
    elif answer.status == 400 and "host" in answer.text.lower():
        return problem(
            "server", f"{place.url} answered 400: it is not to be called {place.host}", "wrong-name",
            f"call it as it is known, or add {place.host} to HUD_ALLOWED_HOSTS of the server",
        )  # fmt: skip
    elif answer.status >= 500:
        return problem(
            "server", f"{place.url} answered {answer.status}: the way is there, the HUD behind it is not", "no-backend",
            "look whether its pods run and are ready: kubectl get pods -l app=zelda-hud",
        )  # fmt: skip
    else:
        found = f"answered {answer.status}, and not as a HUD does"
    return problem(
        "server", f"{place.url}/health {found}", "not-a-hud",
        "HUD_URL leads to another program, or to a HUD that hangs: name the HUD's own host and port (8086)",
    )  # fmt: skip


def _not_ready(place: Place, ready: Answer | None) -> Finding:
    if ready is None:
        return problem("server", "/ready did not answer", "no-backend", "look at the server's log")
    if ready.status == 404:
        return problem(
            "version", f"{place.url} is a HUD of the old kind: it knows no /ready", "old-server",
            "deploy this version (docs/migration.md); its page and its clients go on working",
        )  # fmt: skip
    return _server_without_redis(ready)


def _redis_of(ready: Answer) -> Finding:
    policy = str((ready.body or {}).get("redis_policy") or "noeviction")
    return ok("redis", "the server has Redis") if policy == "noeviction" else evicts("the server's Redis", policy)


def _version_of(ready: Answer) -> Finding:
    ours, theirs = distribution_version(), str((ready.body or {}).get("version", ""))
    if _release(theirs) > _release(ours):
        return problem(
            "version", f"the server is rl-hud {theirs}, here is only {ours}", "old-client",
            "install the server's version here, where training runs: pip install --upgrade rl-hud",
        )  # fmt: skip
    if _release(theirs) < _release(ours):
        return problem(
            "version", f"the server is rl-hud {theirs or 'of an early version'}, here is {ours}", "old-server",
            "install the same version on both sides, the server's first",
        )  # fmt: skip
    return ok("version", f"rl-hud {theirs} there, {ours} here")


def _release(version: str) -> tuple[int, ...]:
    """Major and minor number; those that differ in the last one only fit together."""
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


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
        if settings.tokens and _lets_look(place):
            text = "our HUD_TOKEN is one for looking: the server shows itself to it, and takes no writes"
            yield problem("token", text, "token-views", f"{fix}, and put this one into HUD_VIEW_TOKEN")
        elif settings.tokens:
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


def _lets_look(place: Place) -> bool:
    """Whether it is our token that opens the page: with it we may look, and without it not."""
    with_it, without = (ask(one, "GET", "/api/state") for one in (place, replace(place, token=None)))
    return with_it is not None and without is not None and (with_it.status, without.status) == (200, 401)


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
