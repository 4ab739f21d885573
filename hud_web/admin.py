"""The `hud` commands that ask a running server: status, sessions, reset, export.

They go over HTTP, so they show what a page or a client would get. Called by the command line.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import sys
import time
import urllib.error
import urllib.request
from typing import Any, BinaryIO
from urllib.parse import urlencode

from hud_publisher.protocol.errors import HudError, UnauthorizedError, UnavailableError
from hud_publisher.protocol.settings import Settings

TIMEOUT_S = 5.0
DEFAULT_URL = "http://localhost:8086"
_CHUNK_BYTES = 64 * 1024


def status(options: argparse.Namespace) -> int:
    """Print who holds the channel; exit code 0 if it is live, 1 if not."""
    settings, url = _where(options)
    state = ask(url, "/api/state", "session", token=_token(settings), channel=settings.channel)
    session = state["session"]
    if options.json:
        told = {"url": url, "session": session, "fields": len(state["state"]), "viewers": state["viewers"]}
        _print(json.dumps(told))
    else:
        _print(f"{url}  channel {settings.channel}: {_line(session)}")
        for name, value in sorted(session["info"].items()):
            _print(f"  {name}: {value}")
        _print(f"  {len(state['state'])} fields, {state['viewers']} viewers at this server")
    return 0 if session["status"] == "live" else 1


def sessions(options: argparse.Namespace) -> int:
    """Print the channel's sessions, newest first."""
    settings, url = _where(options)
    answer = ask(url, "/api/sessions", "sessions", token=_token(settings), channel=settings.channel)
    if options.json:
        _print(json.dumps(answer))
        return 0
    for session in answer["sessions"]:
        _print(_line(session))
    if not answer["sessions"]:
        _print(f"channel {settings.channel} has had no session yet")
    return 0


def reset(options: argparse.Namespace) -> int:
    """End the session that holds the channel."""
    settings, url = _where(options)
    body = {"channel": settings.channel}
    answer = ask(url, "/api/reset_session", "previous_session", body=body, token=_token(settings))
    ended = answer["previous_session"]
    if options.json:
        _print(json.dumps(answer))
    else:
        _print(f"session {ended} has ended" if ended else f"nobody held channel {settings.channel}")
    return 0


def export(options: argparse.Namespace) -> int:
    """Write everything that is kept of a session's metrics, as it comes: memory does not grow with the run."""
    settings, url = _where(options)
    query = {"channel": settings.channel, "format": options.format}
    if options.session:
        query["session"] = options.session
    with contextlib.ExitStack() as stack:
        response = stack.enter_context(_open(url, "/api/export", token=_token(settings), **query))
        if options.output is None:
            _copy(url, response, sys.stdout.buffer)
            return 0
        try:
            file = stack.enter_context(open(options.output, "wb"))
        except OSError as error:
            raise HudError(f"expected to write {options.output}, got {error}") from error
        _copy(url, response, file)
    return 0


def _copy(url: str, response: Any, to: BinaryIO) -> None:
    while True:
        try:
            data = response.read(_CHUNK_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise UnavailableError(f"expected the whole export of {url}, got a part of it: {error}") from error
        if not data:
            return
        try:
            to.write(data)
            to.flush()
        except BrokenPipeError:  # `hud export | head`: who reads has had enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains once more at its end
            return
        except OSError as error:
            raise HudError(f"expected to write the export, got {error}") from error


def ask(
    url: str, path: str, part: str, *, body: dict[str, Any] | None = None, token: str | None = None, **query: str
) -> Any:  # fmt: skip
    """Return a server's JSON answer, an object that has this part.

    Raises:
        UnavailableError: nobody answered, or another program.
        UnauthorizedError: the token is missing or wrong.
        HudError: the server refused; the message is its own.
    """
    with _open(url, path, body=body, token=token, **query) as response:
        try:
            answer = json.load(response)
        except (ValueError, OSError, http.client.HTTPException) as error:
            raise UnavailableError(f"expected a HUD server at {url}, got an answer that is no JSON: {error}") from error
    if not isinstance(answer, dict) or part not in answer:
        raise UnavailableError(f"expected a HUD server at {url}, got the answer of another program")
    return answer


def _open(url: str, path: str, *, body: dict[str, Any] | None = None, token: str | None = None, **query: str) -> Any:
    request = urllib.request.Request(f"{url}{path}?{urlencode(query)}", method="GET" if body is None else "POST")
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        words = error.read().decode("utf-8", "replace")[:500]
        kind = {401: UnauthorizedError, 503: UnavailableError}.get(error.code, HudError)
        raise kind(f"{url}{path} answered {error.code}: {words}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise UnavailableError(
            f"expected a HUD server at {url}, got {error}: start one with `hud up`, or set HUD_URL"
        ) from error


def _where(options: argparse.Namespace) -> tuple[Settings, str]:
    settings = Settings.from_env(channel=options.channel, hud_url=options.url)
    return settings, (settings.hud_url or DEFAULT_URL).rstrip("/")


def _token(settings: Settings) -> str | None:
    """A token that allows writing allows looking too."""
    return next(iter(settings.tokens + settings.view_tokens), None)


def _line(session: dict[str, Any]) -> str:
    if session["sid"] is None:
        return "waiting for its first session"
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime((session["started_ms"] or 0) / 1000))
    ended = f", {session['ended_by']}" if session["ended_by"] else ""
    return f"{session['sid']}  {session['status']}{ended}  {session['name']}  since {began}"


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
