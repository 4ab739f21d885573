"""The doctor's check of a HUD server, step by step: name, port, TLS, health, Redis, token, session, stream.

The check ends at the first failed step on which later ones depend. Called by `doctor`.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from hud_publisher.protocol.errors import ConfigError
from hud_publisher.protocol.texts import one_line
from hud_publisher.protocol.transport.http_client import HudServer, parse_hud_url
from hud_web import distribution_version
from hud_web.doctor.findings import Finding, clock_skew, evicts, note, ok, problem
from hud_web.doctor.page import examine_page
from hud_web.doctor.reach import Answer, Blocked, ask, reach, speaks_tls
from hud_web.doctor.stream import examine_stream
from hud_web.settings import WebSettings


def examine_server(url: str, settings: WebSettings, *, listen_s: float) -> Iterator[Finding]:
    """Yield the findings about the server at `url`.

    Args:
        url: its HUD_URL.
        settings: of training, from its environment.
        listen_s: how long to read the stream; from 10 s on, heartbeats and timeouts of proxies are visible.
    """
    tokens = settings.tokens or settings.view_tokens
    try:
        server = parse_hud_url(url, tokens[0] if tokens else None)
    except ConfigError as error:
        yield problem("settings", str(error), "settings", "correct HUD_URL: http://host:8086")
        return
    blocked = reach(server.host, server.port, ssl.create_default_context() if server.is_tls else None)
    if blocked is not None:
        yield _explain(blocked, server)
        return
    health = ask(server, "GET", "/health")
    if not _is_hud(health):
        yield _not_a_hud(server, health)
        return
    assert health is not None
    yield ok("server", f"{server} is healthy, {health.took_s * 1000:.0f} ms")
    ready = ask(server, "GET", "/ready")
    if ready is None or ready.status != 200:
        yield _not_ready(server, ready)
        return
    yield _redis_of(ready)
    yield _version_of(ready)
    for finding in _token(server, settings):
        yield finding
        if finding.cause == "wrong-path":
            return
    yield from examine_page(server)
    yield from _session(server, settings)
    yield from examine_stream(server, listen_s)


def _is_hud(health: Answer | None) -> bool:
    return health is not None and (health.body or {}).get("status") == "healthy"


def _is_at_root(server: HudServer) -> bool:
    """Whether a path follows the address of the HUD."""
    return bool(server.path) and _is_hud(ask(replace(server, path=""), "GET", "/health"))


def _explain(blocked: Blocked, server: HudServer) -> Finding:
    """Return the finding about a server to which no connection is possible."""
    where = f"{server.host} port {server.port}"
    match blocked.by:
        case "unknown name":
            return problem(
                "server", f"the host name {server.host} cannot be resolved", "unknown-host",
                "correct the host in HUD_URL; within Kubernetes it is "
                "http://zelda-hud-service.NAMESPACE.svc.cluster.local:8086, from outside the Route's https address",
            )  # fmt: skip
        case "nothing listens":
            return problem(
                "server", f"no program listens at {where}", "wrong-port",
                "correct the port in HUD_URL (the HUD's is 8086), or start the server: `hud up`; on Kubernetes "
                "check whether the pods are ready: kubectl get pods -l app=zelda-hud",
            )  # fmt: skip
        case "no way":
            return problem(
                "server", f"{where} does not answer: {blocked.words}", "no-way",
                "check firewalls and NetworkPolicies in between; a pod of another namespace needs the label "
                'zelda-hud/training: "true" on its namespace',
            )  # fmt: skip
        case "no tls":
            return problem(
                "server", f"{where} does not speak TLS: {blocked.words}", "tls",
                "write http:// instead of https:// for the Service, https:// for the Route",
            )  # fmt: skip
        case "untrusted":
            return problem(
                "server", f"the certificate of {where} is not trusted: {blocked.words}", "tls-untrusted",
                "set SSL_CERT_FILE to a file with the certificate of your authority, and HUD_URL to a name in the "
                "certificate",
            )  # fmt: skip


def _not_a_hud(server: HudServer, answer: Answer | None) -> Finding:
    """Return the finding about an answer that no healthy HUD gives."""
    if _is_at_root(server):
        return _wrong_path(server)
    is_unread = answer is None or answer.status == 400
    if not server.is_tls and is_unread and speaks_tls(server.host, server.port):
        return problem(
            "server", f"{server.host} port {server.port} speaks TLS, and HUD_URL begins with http://", "tls",
            f"HUD_URL={replace(server, is_tls=True)}",
        )  # fmt: skip
    if answer is None:
        found = "accepts the connection and does not answer by HTTP"
    elif answer.location is not None:
        return problem(
            "server", f"{server} answers {answer.status} and redirects to {_origin_of(server, answer.location)}",
            "redirected",
            "publishers do not follow redirects: set HUD_URL to the address of the HUD itself. The Route has https:// "
            "only; a login in front of it is for browsers, training uses the Service",
        )  # fmt: skip
    elif answer.status in (401, 403, 407) and not answer.body:
        return problem(
            "server", f"{server} answered {answer.status}: a proxy in front of the HUD requires a login", "login",
            "this address is for browsers; in the cluster use the Service: "
            "http://zelda-hud-service.NAMESPACE.svc.cluster.local:8086",
        )  # fmt: skip
    elif answer.status == 400 and "host" in answer.text.lower():
        return problem(
            "server", f"{server} answered 400: it does not accept the host name {server.host}", "wrong-name",
            f"use a name that the server accepts, or add {server.host} to its HUD_ALLOWED_HOSTS",
        )  # fmt: skip
    elif answer.status >= 500:
        return problem(
            "server", f"{server} answered {answer.status}: the HUD behind it does not run", "no-backend",
            "check that its pods are ready: kubectl get pods -l app=zelda-hud",
        )  # fmt: skip
    else:
        found = f"answered {answer.status}, but not as a HUD does"
    return problem(
        "server", f"{server}/health {found}", "not-a-hud",
        "HUD_URL leads to another program, or to a HUD that hangs: set it to the HUD's host and port (8086)",
    )  # fmt: skip


def _wrong_path(server: HudServer) -> Finding:
    root = replace(server, path="")
    return problem("server", f"the HUD is at {root}, and HUD_URL has a path after it", "wrong-path", f"HUD_URL={root}")


def _origin_of(server: HudServer, location: str) -> str:
    """Return the address in a Location header; its path and query may hold secrets of a login."""
    if "://" not in location:
        return f"another path of {server}"
    try:
        return str(parse_hud_url(location))
    except ConfigError:
        return "an address that is not one of HTTP"


def _not_ready(server: HudServer, ready: Answer | None) -> Finding:
    if ready is None:
        return problem("server", "/ready did not answer", "no-backend", "read the server's log")
    if ready.status == 404:
        return problem(
            "version", f"{server} is an old version of HUD, without /ready", "old-server",
            "deploy this version (docs/migration.md); its page and its clients keep working",
        )  # fmt: skip
    if trouble := _trouble_of(ready):
        return trouble
    if "going away" in ready.said:
        return note("server", "this replica is shutting down; try again in some seconds", "draining")
    return problem(
        "redis", f"the server does not reach its Redis: {ready.said}", "server-no-redis",
        "start Redis, or correct the server's REDIS_URL; run `hud doctor` with that REDIS_URL beside the server",
    )  # fmt: skip


def _redis_of(ready: Answer) -> Finding:
    if trouble := _trouble_of(ready):
        return trouble
    policy = str((ready.body or {}).get("redis_policy") or "noeviction")
    return (
        ok("redis", "the server reaches its Redis") if policy == "noeviction" else evicts("the server's Redis", policy)
    )


def _trouble_of(ready: Answer) -> Finding | None:
    """Return the trouble that the server has with its Redis, in the server's words."""
    trouble = (ready.body or {}).get("redis_trouble")
    if not isinstance(trouble, dict):
        return None
    text, fix = (one_line(str(trouble.get(part, "")), 400) for part in ("text", "fix"))
    return problem("redis", f"the server reports: {text}", trouble.get("cause", "redis-other"), f"at the server: {fix}")


def _version_of(ready: Answer) -> Finding:
    ours, theirs = distribution_version(), str((ready.body or {}).get("version", ""))
    if _release(theirs) > _release(ours):
        return problem(
            "version", f"the server has rl-hud {theirs}, this machine has {ours}", "old-client",
            "install the server's version on the machine of training: pip install --upgrade rl-hud",
        )  # fmt: skip
    if _release(theirs) < _release(ours):
        return problem(
            "version", f"the server has rl-hud {theirs or '(an early version)'}, this machine has {ours}", "old-server",
            "install the same version on both sides, on the server first",
        )  # fmt: skip
    return ok("version", f"rl-hud {theirs} on the server, {ours} on this machine")


def _release(version: str) -> tuple[int, ...]:
    """Major and minor number; versions that differ only in the last number are compatible."""
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def _token(server: HudServer, settings: WebSettings) -> Iterator[Finding]:
    """Try to write without a session: the answer shows whether writing is allowed, and no data changes."""
    answer = ask(server, "POST", "/api/heartbeat", b"{}")
    if answer is None:
        yield problem("token", "/api/heartbeat did not answer", "no-backend", "read the server's log")
    elif answer.status == 401:
        fix = "set HUD_TOKEN of the training job to the server's"
        if settings.tokens and _is_viewing_token(server):
            text = "HUD_TOKEN here is a view-only token: the server shows the page to it and refuses its writes"
            yield problem("token", text, "token-views", f"{fix}, and use this one as HUD_VIEW_TOKEN")
        elif settings.tokens:
            yield problem(
                "token", "the server does not accept this HUD_TOKEN: it expired or was changed", "token-refused",
                f"{fix}; to change it without a gap, give the server both for a while, separated by a comma",
            )  # fmt: skip
        else:
            text = "the server requires a token for writing, and HUD_TOKEN is not set here"
            yield problem("token", text, "token-missing", fix)
    elif _is_view_only(answer) and _is_at_root(server):
        yield _wrong_path(server)
    elif _is_view_only(answer) and server.path:
        yield note(
            "token", f"{server} is view-only below its path: training cannot publish there", "view-only",
            "let the proxy strip the path prefix, or set HUD_URL of a training job to the HUD's host and port",
        )  # fmt: skip
    elif _is_view_only(answer):
        yield note(
            "token", "this address is view-only: the page works there, and training cannot publish to it", "view-only",
            "as HUD_URL of a training job use the server's HUD_PORT (8086); on Kubernetes that is the Service "
            "http://zelda-hud-service.NAMESPACE.svc.cluster.local:8086",
        )  # fmt: skip
    elif answer.status in (404, 429) or answer.status >= 500:
        yield problem(
            "token", f"/api/heartbeat answered {answer.status}: {answer.said or 'no reason given'}", "no-backend",
            "read the server's log, and check whether a proxy in between passes only some paths",
        )  # fmt: skip
    else:
        yield ok("token", "writing is allowed" + (" with our token" if settings.tokens else ""))


def _is_view_only(answer: Answer) -> bool:
    return answer.status == 403 and (answer.body or {}).get("error") == "View only"


def _is_viewing_token(server: HudServer) -> bool:
    """Whether our token opens the page: with the token we may view it, and without it we may not."""
    with_it, without = (ask(one, "GET", "/api/state") for one in (server, replace(server, token=None)))
    return with_it is not None and without is not None and (with_it.status, without.status) == (200, 401)


def _session(server: HudServer, settings: WebSettings) -> Iterator[Finding]:
    viewer = replace(server, token=settings.view_tokens[0]) if settings.view_tokens else server
    before_s = time.time()
    answer = ask(viewer, "GET", f"/api/state?channel={quote(settings.channel)}")
    after_s = time.time()
    if answer is None or answer.status != 200 or not answer.body:
        if answer is not None and answer.status == 401:
            has_token = viewer.token is not None
            yield problem(
                "session",
                "the server does not accept the viewing token" if has_token else "the server requires a viewing token",
                "view-token",
                "set HUD_VIEW_TOKEN to the server's, or open the link /?token=… once in the browser",
            )  # fmt: skip
        else:
            yield problem("session", "/api/state did not answer", "no-backend", "read the server's log")
        return
    server_s = float(answer.body.get("server_time_ms", 0)) / 1000
    yield from clock_skew("the HUD server", server_s - (before_s + after_s) / 2, (after_s - before_s) / 2)
    yield _holder(answer.body.get("session") or {}, settings)


def _holder(session: dict[str, Any], settings: WebSettings) -> Finding:
    channel, name, sid = settings.channel, session.get("name"), session.get("sid")
    status = session.get("status")
    if status == "live":
        return note(
            "session", f"channel {channel} is held by run {name!r} (session {sid}), renewed for the next "
            f"{session.get('ttl_s')} s: another run gets a channel of its own", "held",
            "if that is not your run: open your run's channel, choose another HUD_CHANNEL, or end it with `hud reset`",
        )  # fmt: skip
    if status == "lapsed":
        return note(
            "session", f"run {name!r} (session {sid}) stopped renewing its session: it died, or it is cut "
            "off", "lapsed", "check the training job: run `hud doctor` in its pod",
        )  # fmt: skip
    if status == "waiting":
        return note(
            "session", f"no run has ever registered on channel {channel}", "no-run",
            "check that the job's runtime environment sets HUD_URL or REDIS_URL, and the same HUD_CHANNEL",
        )  # fmt: skip
    return ok("session", f"channel {channel} is free; its last run {name!r} has ended ({session.get('ended_by')})")
