"""The `hud` command, also installed as `rl-hud`, and its subcommands, from `up` to `alert`.

Owns the arguments, the output and the exit codes. Modules that need an extra of the package are imported by the
commands that use them, so the others work with the base install. Called as `hud` and as `python -m hud_web`.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import logging
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote

from hud_publisher.protocol.errors import ConfigError, HudError
from hud_publisher.protocol.texts import one_line
from hud_publisher.protocol.transport.local_redis import accepts, local_url
from hud_publisher.protocol.urls import parse_redis_url
from hud_web import distribution_version
from hud_web.access import logs
from hud_web.command import admin, data_folder, demo, doctor
from hud_web.command.embedded import EmbeddedRedis
from hud_web.command.printing import PIPE_STATUS, discard, flush, print_json, print_line
from hud_web.settings import WebSettings

if TYPE_CHECKING:
    from hud_web.command.server import Companion

Command = Callable[[argparse.Namespace], int]


#: The packages of the extra `web`.
_WEB_PACKAGES = frozenset(
    {"starlette", "uvicorn", "httptools", "prometheus_client", "uvloop", "anyio", "h11", "click", "apprise"}
)
#: Pages that may embed a HUD that listens on loopback: a notebook on this machine, or the hub whose proxy shows both.
_NOTEBOOKS = ("'self'", "http://localhost:*", "http://127.0.0.1:*")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    0; 1 for a failure, 2 for a wrong command line or setting, 130 after Ctrl-C, 141 if the reader of the output left.
    """
    try:
        try:
            return _run(arguments)
        finally:
            flush()
    except BrokenPipeError:
        discard()
        return PIPE_STATUS
    except HudError as error:  # raised by the last flush
        _complain(error)
        return 1


def _run(arguments: Sequence[str] | None) -> int:
    if logs.wants_json():
        logs.configure("info", "json")
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _leave)
    # A shell script starts its background jobs with SIGINT ignored; a SIGINT sent to this process must end it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    command: Command = options.command
    try:
        return command(options)
    except ConfigError as error:
        _complain(error)
        return 2
    except HudError as error:
        _complain(error)
        return 1
    except KeyboardInterrupt:
        return 130


class _Parser(argparse.ArgumentParser):
    """Reports a wrong command line without its URLs, which may hold a password, and as JSON if all lines are JSON."""

    def error(self, message: str) -> NoReturn:
        text = one_line(re.sub(r"\S*://.*", "(a URL)", message))
        if logs.is_json():
            _complain(ConfigError(text))
            raise SystemExit(2)
        super().error(text)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="hud", description="Live head-up display for reinforcement learning.")
    parser.add_argument("--version", action="version", version=f"rl-hud {distribution_version()}")
    commands = parser.add_subparsers(required=True, metavar="command")

    def add(name: str, command: Command, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=command)
        return sub

    listening = {
        "up": add("up", _up, "Start the page with an embedded Redis, unless REDIS_URL names one."),
        "serve": add("serve", _serve, "Start the page alone, on the Redis that REDIS_URL names."),
        "demo": add("demo", _demo, "Start the page and a real PPO run on Atari Breakout."),
    }
    for sub in listening.values():
        sub.add_argument("--host", help="address to listen on (HUD_HOST, default 127.0.0.1)")
        sub.add_argument("--port", help="port to listen on, 0 for any free one (HUD_PORT, default 8086)")
        sub.add_argument("--view-port", help="a second, read-only port (HUD_VIEW_PORT)")
        sub.add_argument(
            "--insecure", action="store_true", help="listen beyond loopback without a token (HUD_INSECURE)"
        )
        sub.add_argument("--log-level", help="critical, error, warning, info or debug (HUD_LOG_LEVEL)")
        sub.add_argument("--redis-url", help="URL of Redis, instead of REDIS_URL")
    kept = listening["up"].add_mutually_exclusive_group()
    kept.add_argument("--data", metavar="DIR", help="folder to keep runs in (default ~/.local/share/hud)")
    kept.add_argument("--memory", action="store_true", help="keep no runs: they are gone when this ends")
    listening["demo"].add_argument("--iterations", type=int, help="end the training after this number of iterations")
    querying = {
        "status": add("status", admin.status, "Show the holder and the state of a channel."),
        "sessions": add("sessions", admin.sessions, "List a channel's sessions, newest first."),
        "channels": add("channels", admin.channels, "List the recently used channels, newest activity first."),
        "reset": add("reset", admin.reset, "End the session that holds a channel."),
        "export": add("export", admin.export, "Write a session's metrics as CSV or JSON."),
        "doctor": add("doctor", doctor.doctor, "Find faults between training, Redis and the page, with their fixes."),
    }
    for sub in querying.values():
        sub.add_argument("--url", help="URL of the HUD server (HUD_URL, default http://localhost:8086)")
        sub.add_argument("--channel", help="the display (HUD_CHANNEL, default 'default')")
    for name in ("status", "sessions", "channels", "reset", "doctor"):
        querying[name].add_argument("--json", action="store_true", help="print it as JSON, for scripts")
    querying["sessions"].add_argument("--all", action="store_true", help="the sessions of all channels")
    querying["export"].add_argument("--session", help="number of a session (hud sessions), default the newest")
    querying["export"].add_argument("--format", choices=["csv", "json"], default="csv", help="default csv")
    querying["export"].add_argument("--output", help="file to write, default standard output")
    alert = commands.add_parser("alert", help="Try the receivers of alerts.", description="Alerts beyond the browser.")
    actions = alert.add_subparsers(required=True, metavar="action")
    text = "Send a test message to every target of HUD_ALERTS."
    trial = actions.add_parser("test", help=text, description=text)
    trial.set_defaults(command=_test_alerts)
    trial.add_argument("--channel", help="the display that the message names (HUD_CHANNEL, default 'default')")
    querying["doctor"].add_argument("--redis-url", help="URL of Redis, instead of REDIS_URL")
    querying["doctor"].add_argument(
        "--listen", type=float, default=12.0, metavar="S", help="how many seconds to listen to the stream (default 12)"
    )
    return parser


def _settings(options: argparse.Namespace) -> WebSettings:
    settings = WebSettings.from_env(redis_url=options.redis_url, **_listening(options))
    logs.configure(settings.log_level, settings.log_format)
    if not (settings.is_loopback or settings.tokens or settings.insecure):
        raise ConfigError(
            f"HUD_HOST: without a token, everybody who reaches {settings.host} could write to this server: set "
            "HUD_TOKEN, or pass --insecure (HUD_INSECURE=1) if the network keeps strangers out"
        )
    return settings


def _listening(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "host": options.host, "port": options.port, "view_port": options.view_port, "log_level": options.log_level,
        "insecure": options.insecure or None,
    }  # fmt: skip


def _server() -> ModuleType:
    """Return the module that serves the page.

    Raises:
        ConfigError: the packages of the extra `web` are not installed.
    """
    with _web_packages():
        from hud_web.command import server
    return server


def _room() -> ModuleType:
    with _web_packages():
        from hud_web.command import room
    return room


def _test_alerts(options: argparse.Namespace) -> int:
    with _web_packages():
        from hud_web.command import alert
    return alert.test(options)


@contextlib.contextmanager
def _web_packages() -> Iterator[None]:
    """Name the extra of a package that is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _WEB_PACKAGES:
            raise
        raise ConfigError(
            f"the package {error.name}, which serves the page, is not installed: pip install 'rl-hud[web,embedded]'"
        ) from None


def _serve(options: argparse.Namespace) -> int:
    server, settings = _server(), _settings(options)
    if not settings.redis_url:
        raise ConfigError("REDIS_URL is not set: set it, or use `hud up`, which starts a Redis")
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(contextlib.closing(server.bind(settings.host, settings.port)))
        _say(f"HUD  {_link(settings, listener)}")
        server.serve(settings, listener, view_listener=_open_view(server, settings, stack))
    return 0


def _open_view(server: ModuleType, settings: WebSettings, stack: contextlib.ExitStack) -> socket.socket | None:
    """Return the listening socket of the viewing port; None if the settings name none."""
    if settings.view_port is None:
        return None
    bound = server.bind(settings.host, settings.view_port, "--view-port")
    listener: socket.socket = stack.enter_context(contextlib.closing(bound))
    _say(f"     {_link(settings, listener)}  for viewing only")
    return listener


def _up(options: argparse.Namespace) -> int:
    return _with_redis(options, lambda _settings: [], keeps=not options.memory)


def _demo(options: argparse.Namespace) -> int:
    demo.check_installed()
    arguments = [] if options.iterations is None else ["--iterations", str(options.iterations)]

    def companions(settings: WebSettings) -> list[Companion]:
        assert settings.redis_url is not None
        run = demo.TrainingRun(settings.redis_url, channel=settings.channel, arguments=arguments, say=_say_late)
        return [run.run]

    return _with_redis(options, companions)


def _with_redis(
    options: argparse.Namespace, companions: Callable[[WebSettings], list[Companion]], *, keeps: bool = False
) -> int:
    """Serve on the Redis of REDIS_URL, or on an embedded one that ends with this process.

    Args:
        options: of the command line.
        companions: make what runs beside the server.
        keeps: whether the embedded Redis keeps its runs in a folder. A demo leaves nothing behind.
    """
    server, settings = _server(), _settings(options)
    if settings.is_loopback and not settings.frame_ancestors:
        settings = replace(settings, frame_ancestors=_NOTEBOOKS)
    end = ""
    try:
        with contextlib.ExitStack() as stack:
            redis = None
            if not settings.redis_url or _is_own_dead_socket(settings):
                redis = stack.enter_context(EmbeddedRedis(settings, _data(options, settings) if keeps else None))
                settings = replace(settings, redis_url=redis.url)
            elif getattr(options, "data", None) or getattr(options, "memory", False):
                raise ConfigError(
                    f"--data and --memory are for the Redis that `hud up` starts, and {settings.redis_url_variable} "
                    "names another: leave one of the two out"
                )
            listener = stack.enter_context(contextlib.closing(server.bind(settings.host, settings.port)))
            _say(f"HUD  {_link(settings, listener)}  (Ctrl-C ends it)")
            view_listener = _open_view(server, settings, stack)
            address = _address(settings, listener)
            _tell_addresses(settings, address, redis)
            keepers: list[Companion] = []
            if redis is not None:
                redis.tell(address)
                keepers = [redis.keep, functools.partial(_room().keep_room, redis.url)]
                end = f"The runs are kept in {redis.data}: the next `hud up` shows them."
                end = end if redis.data else "The Redis of this HUD has ended, and the runs in it are gone."
            beside = [*keepers, *companions(settings)]
            server.serve(settings, listener, beside, view_listener=view_listener, page=address)
    finally:
        if end:
            _say_late(end)
    return 0


def _data(options: argparse.Namespace, settings: WebSettings) -> Path:
    return Path(options.data).expanduser().absolute() if options.data else data_folder.default_folder(settings)


def _tell_addresses(settings: WebSettings, address: str, redis: EmbeddedRedis | None) -> None:
    """Print how training reaches this display, and where its runs are kept."""
    if redis is not None:
        _say("Publish from this machine: no variable is needed. If XDG_RUNTIME_DIR differs there:")
        _say(f"     export REDIS_URL={redis.url}")
    _say("Publish by HTTP" + (", with HUD_TOKEN set too:" if settings.tokens else ":"))
    _say(f"     export HUD_URL={address}")
    if redis is not None and redis.data is not None:
        _say(f"Runs are kept in {redis.data}")
    elif redis is not None:
        _say("Runs are lost when this ends. To keep them, use `hud up` without --memory.")


def _is_own_dead_socket(settings: WebSettings) -> bool:
    """Whether REDIS_URL is the address that an earlier `hud up` printed, and that `hud up` has ended."""
    assert settings.redis_url is not None
    own, target = parse_redis_url(local_url(settings)), parse_redis_url(settings.redis_url)
    return target == own and not accepts(Path(own.path or ""))


def _address(settings: WebSettings, listener: socket.socket) -> str:
    host = settings.host
    if settings.allowed_hosts:  # the server answers only to these names
        host = next((name for name in settings.allowed_hosts if "*" not in name), host)
    elif host in ("127.0.0.1", "0.0.0.0", "::"):
        host = "localhost"
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"http://{host}:{listener.getsockname()[1]}"


def _link(settings: WebSettings, listener: socket.socket) -> str:
    """Return the address to open in a browser, with the viewing token if it is safe to print one.

    The token is included if only this machine can reach the page, or if a person reads the terminal; never in JSON,
    which goes to a cluster's log store.
    """
    address = _address(settings, listener)
    if not settings.view_tokens:
        return address
    has_reader = settings.is_loopback or (sys.stdout is not None and sys.stdout.isatty())
    if settings.log_format == "json" or not has_reader:
        return f"{address}  (open it once with /?token= and the value of HUD_VIEW_TOKEN)"
    return f"{address}/?token={quote(settings.view_tokens[0], safe='')}"


def _leave(_number: int, _frame: FrameType | None) -> None:
    """End the command in order, as after Ctrl-C, but with exit code 0: service managers stop programs by SIGTERM."""
    raise SystemExit(0)


def _say(text: str) -> None:
    """Print a line, as a JSON object with HUD_LOG_FORMAT=json: log stores collect both outputs."""
    if logs.is_json():
        record = logging.makeLogRecord({"name": "hud", "levelname": "INFO", "msg": text.strip()})
        print_json(logs.JsonFormatter().format(record))
    else:
        print_line(text)
    flush()


def _say_late(text: str) -> None:
    """Print a line while the server runs or ends; a closed standard output does not stop the server."""
    try:
        _say(text)
    except (OSError, HudError):
        discard()


def _complain(error: HudError) -> None:
    if logs.is_json():
        logging.getLogger("hud").error("%s", error)
    elif sys.stderr is not None:
        with contextlib.suppress(OSError):
            sys.stderr.write(one_line(f"hud: {error}", 4000) + "\n")


if __name__ == "__main__":
    sys.exit(main())
