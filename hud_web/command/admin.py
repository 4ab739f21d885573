"""The `hud` commands that query a running server: status, sessions, channels, reset, export.

They use HTTP, so they show the same data as a page or a client. They need no extra of the package. Called by the
command line.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import sys
import time
from collections.abc import Iterator
from typing import Any, BinaryIO
from urllib.parse import urlencode

from hud_publisher.protocol.errors import HudError, UnauthorizedError, UnavailableError
from hud_publisher.protocol.texts import one_line
from hud_publisher.protocol.transport.http_client import Connection, HudServer, parse_hud_url
from hud_publisher.protocol.values import flatten
from hud_web.command.folder_lock import running_page
from hud_web.command.printing import print_json, print_line, print_table
from hud_web.settings import DEFAULT_URL, WebSettings

TIMEOUT_S = 5.0
_CHUNK_BYTES = 64 * 1024
#: The largest JSON answer that is read, in bytes: a thousand sessions have a few hundred kB.
_ANSWER_BYTES = 64 * 1024 * 1024
#: Runs in one answer, the most that a server gives.
_RUNS_AT_ONCE = 500


def status(options: argparse.Namespace) -> int:
    """Print the run that holds the channel; exit code 0 if it is live, 1 if not."""
    settings, server = _where(options)
    state = fetch(server, "/api/state", "session", channel=settings.channel)
    session, figures = state["session"], _figures(state)
    if options.json:
        told = {
            "url": str(server), "session": session, "fields": len(state["state"]), "viewers": state["viewers"],
            "figures": {label: value for label, _path, value in figures}, "roles": state.get("roles", {}),
            "verdict": state.get("verdict"),
        }  # fmt: skip
        print_json(json.dumps(told))
    else:
        print_line(f"{server}  channel {settings.channel}: {_line(session)}")
        if verdict := state.get("verdict"):
            print_line(f"  {verdict['text']}")
        for name, value in sorted(session["info"].items()):
            print_line(f"  {name}: {value}")
        broken = state.get("not_finite", {})
        for label, path, value in figures:
            print_line(f"  {label}: {_shown(value, broken.get(path))}")
        print_line(f"  {len(state['state'])} fields, {state['viewers']} viewers at this server")
    return 0 if session["status"] == "live" else 1


def _figures(state: dict[str, Any]) -> list[tuple[str, str, float | str]]:
    """Return the label, path and value of each field that plays a role; the value's name if it is not finite."""
    values = {path: value for path, value in flatten(state["state"], separator="/") if isinstance(value, (int, float))}
    values |= {path: since["value"] for path, since in state.get("not_finite", {}).items()}
    fields = [field for role in state.get("roles", {}).values() for field in role]
    return [(field["label"], field["path"], values[field["path"]]) for field in fields if field["path"] in values]


def _shown(value: float | str, since: dict[str, Any] | None) -> str:
    if since is None:
        return f"{value:,.6g}" if isinstance(value, float) else f"{value:,}"
    step = "" if since["step"] is None else f", step {since['step']:,}"
    return f"{value} since {_moment(since['time_ms'])}{step}"


def sessions(options: argparse.Namespace) -> int:
    """Print the sessions of the channel, or of all channels, newest first."""
    settings, server = _where(options)
    if options.all:
        return _all_sessions(server, is_json=options.json)
    answer = fetch(server, "/api/sessions", "sessions", channel=settings.channel)
    if options.json:
        print_json(json.dumps(answer))
        return 0
    for session in answer["sessions"]:
        print_line(_line(session))
    if not answer["sessions"]:
        print_line(f"channel {settings.channel} has had no session yet")
    return 0


def _all_sessions(server: HudServer, *, is_json: bool) -> int:
    runs: list[dict[str, Any]] = []
    offset: int | None = 0
    while offset is not None:
        answer = fetch(server, "/api/runs", "runs", limit=str(_RUNS_AT_ONCE), offset=str(offset), pinned_first="0")
        runs += answer["runs"]
        offset = answer["next_offset"]
    if is_json:
        print_json(json.dumps({"runs": runs}))
        return 0
    rows = [
        (run["channel"], run["sid"], run["status"], run["name"], _moment(run["started_ms"]), _text_of(run["verdict"]))
        for run in runs
    ]
    if rows:
        print_table(("CHANNEL", "SESSION", "STATE", "RUN", "SINCE", "VERDICT"), rows)
    else:
        print_line(f"no run has published to {server} yet")
    return 0


def channels(options: argparse.Namespace) -> int:
    """Print the channels with recent activity, the newest activity first."""
    _settings, server = _where(options)
    answer = fetch(server, "/api/channels", "channels", limit="200")
    if options.json:
        print_json(json.dumps(answer))
        return 0
    rows = []
    for channel in answer["channels"]:
        session = channel["session"] or {"status": "no session kept", "name": "", "started_ms": None}
        rows.append((
            channel["name"], session["status"], session["name"], _moment(session["started_ms"]),
            _moment(channel["last_activity_ms"]), _text_of(channel.get("verdict")),
        ))  # fmt: skip
    if rows:
        print_table(("CHANNEL", "STATE", "RUN", "SINCE", "ACTIVE", "VERDICT"), rows)
        print_line(f"page of a channel: {server}/?channel={answer['channels'][0]['name']}")
    else:
        print_line(f"no run has published to {server} recently")
    if answer["next_offset"]:
        print_line(f"and {answer['total'] - len(answer['channels'])} more: {server}/api/channels?offset=200")
    return 0


def reset(options: argparse.Namespace) -> int:
    """End the session that holds the channel."""
    settings, server = _where(options)
    answer = fetch(server, "/api/reset_session", "previous_session", body={"channel": settings.channel})
    ended = answer["previous_session"]
    if options.json:
        print_json(json.dumps(answer))
    else:
        print_line(f"session {ended} has ended" if ended else f"no session held channel {settings.channel}")
    return 0


def export(options: argparse.Namespace) -> int:
    """Write all stored metrics of a session, as they arrive: memory does not grow with the run."""
    settings, server = _where(options)
    query = {"channel": settings.channel, "format": options.format}
    if options.session:
        query["session"] = options.session
    with contextlib.ExitStack() as stack:
        connection, response = stack.enter_context(_open(server, "/api/export", None, query))
        if options.output is None:
            if sys.stdout is not None:
                _copy(server, connection, response, sys.stdout.buffer)
            return 0
        try:
            file = stack.enter_context(open(options.output, "wb"))
        except OSError as error:
            raise HudError(f"{options.output} cannot be written: {error}") from error
        _copy(server, connection, response, file)
    return 0


def _copy(server: HudServer, connection: Connection, response: http.client.HTTPResponse, to: BinaryIO) -> None:
    while True:
        connection.limit_answer(TIMEOUT_S)
        try:
            data = response.read(_CHUNK_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise UnavailableError(f"{server} sent only a part of the export: {error}") from error
        if not data:
            return
        try:
            to.write(data)
            to.flush()
        except BrokenPipeError:  # `hud export | head`: the caller of this command handles it
            raise
        except OSError as error:
            raise HudError(f"the export cannot be written: {error}") from error


def fetch(server: HudServer, path: str, part: str, *, body: dict[str, Any] | None = None, **query: str) -> Any:
    """Return a server's JSON answer, an object that has this part.

    Raises:
        UnavailableError: no answer within TIMEOUT_S, or the answer of another program.
        UnauthorizedError: the token is missing or wrong.
        HudError: the server refused; the message gives the reason.
    """
    with _open(server, path, body, query) as (_connection, response):
        try:
            answer = json.loads(response.read(_ANSWER_BYTES))
        except (ValueError, OSError, http.client.HTTPException) as error:
            reason = "not JSON" if isinstance(error, ValueError) else str(error)
            raise UnavailableError(f"no HUD server is at {server}, the answer is {reason}: set HUD_URL") from error
    if not isinstance(answer, dict) or part not in answer:
        raise UnavailableError(f"no HUD server is at {server}, another program answered: set HUD_URL")
    return answer


@contextlib.contextmanager
def _open(
    server: HudServer, path: str, body: dict[str, Any] | None, query: dict[str, str]
) -> Iterator[tuple[Connection, http.client.HTTPResponse]]:
    connection = server.connect(TIMEOUT_S)
    target = f"{server.path}{path}" + (f"?{urlencode(query)}" if query else "")
    try:
        try:
            if body is None:
                connection.request("GET", target, headers=server.headers())
            else:
                headers = server.headers() | {"Content-Type": "application/json"}
                connection.request("POST", target, json.dumps(body).encode(), headers)
            response = connection.getresponse()
            words = "" if response.status == 200 else response.read(2000).decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            raise UnavailableError(
                f"no HUD server answers at {server} ({one_line(str(error)) or type(error).__name__}): start one with "
                "`hud up`, or set HUD_URL; `hud doctor` finds the cause"
            ) from error
        if response.status != 200:
            kind = {401: UnauthorizedError, 503: UnavailableError}.get(response.status, HudError)
            raise kind(f"{server}{path} answered {response.status}: {_reason(words, server)}")
        yield connection, response
    finally:
        connection.close()


def _reason(words: str, server: HudServer) -> str:
    """Return the message of an error answer: a HUD answers `{error, detail?}`, another program any text."""
    with contextlib.suppress(ValueError):
        answer = json.loads(words)
        if isinstance(answer, dict) and "error" in answer:
            words = ": ".join(str(answer[name]) for name in ("error", "detail") if answer.get(name))
    if server.token:
        words = words.replace(server.token, "…")
    return one_line(words) or "no reason given"


def _where(options: argparse.Namespace) -> tuple[WebSettings, HudServer]:
    # These commands use no Redis, so a malformed REDIS_URL must not stop them.
    settings = WebSettings.from_env(channel=options.channel, hud_url=options.url, redis_url="")
    # A token that allows writing allows viewing too.
    token = next(iter(settings.tokens + settings.view_tokens), None)
    return settings, parse_hud_url(settings.hud_url or running_page(settings) or DEFAULT_URL, token)


def _text_of(verdict: dict[str, Any] | None) -> str:
    return str((verdict or {}).get("text") or "")


def _moment(at_ms: int | None) -> str:
    return "" if at_ms is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_ms / 1000))


def _line(session: dict[str, Any]) -> str:
    if session["sid"] is None:
        return "waiting for its first session"
    began = _moment(session["started_ms"] or 0)
    ended = f", {session['ended_by']}" if session["ended_by"] else ""
    return f"{session['sid']}  {session['status']}{ended}  {session['name']}  since {began}"
