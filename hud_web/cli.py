"""The `hud` command: up, serve, demo, status, sessions, reset, export, doctor.

Owns arguments, what is printed, and exit codes. Called as `hud` and as `python -m hud_web`.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from hud_publisher.protocol.errors import ConfigError, HudError
from hud_publisher.protocol.settings import Settings
from hud_web import admin, demo, doctor, logs
from hud_web.embedded import EmbeddedRedis
from hud_web.server import Companion, bind, serve

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, 1 for what failed, 2 for what was asked wrongly, 130 for Ctrl-C."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _leave)
    # A script's background jobs ignore SIGINT from birth; whoever sends it to us means it.
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hud", description="Live head-up display for reinforcement learning.")
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
        sub.add_argument("--view-port", help="a second port on which one can look and never write (HUD_VIEW_PORT)")
        sub.add_argument(
            "--insecure", action="store_true", help="listen beyond loopback without a token (HUD_INSECURE)"
        )
        sub.add_argument("--log-level", help="critical, error, warning, info or debug (HUD_LOG_LEVEL)")
        sub.add_argument("--redis-url", help="instead of REDIS_URL")
    listening["demo"].add_argument("--iterations", type=int, help="end the training after so many iterations")
    asking = {
        "status": add("status", admin.status, "Say who holds a channel and how it stands."),
        "sessions": add("sessions", admin.sessions, "List a channel's sessions, newest first."),
        "reset": add("reset", admin.reset, "End the session that holds a channel."),
        "export": add("export", admin.export, "Write a session's metrics as CSV or JSON."),
        "doctor": add("doctor", doctor.doctor, "Say what is wrong between training, Redis and the page, and the fix."),
    }
    for sub in asking.values():
        sub.add_argument("--url", help="of the HUD server (HUD_URL, default http://localhost:8086)")
        sub.add_argument("--channel", help="which display (HUD_CHANNEL, default 'default')")
    for name in ("status", "sessions", "reset", "doctor"):
        asking[name].add_argument("--json", action="store_true", help="print it as JSON, for scripts")
    asking["export"].add_argument("--session", help="number of a session (hud sessions), default the newest")
    asking["export"].add_argument("--format", choices=["csv", "json"], default="csv", help="default csv")
    asking["export"].add_argument("--output", help="file to write, default standard output")
    asking["doctor"].add_argument("--redis-url", help="instead of REDIS_URL")
    asking["doctor"].add_argument(
        "--listen", type=float, default=12.0, metavar="S", help="listen to the stream so long (default 12 s)"
    )
    return parser


def _settings(options: argparse.Namespace) -> Settings:
    settings = Settings.from_env(redis_url=options.redis_url, **_listening(options))
    logs.configure(settings.log_level, settings.log_format)
    if not (settings.is_loopback or settings.tokens or settings.insecure):
        raise ConfigError(
            f"HUD_HOST: expected a token to listen on {settings.host}, where others can reach this server and write to "
            "it, got none: set HUD_TOKEN, or pass --insecure (HUD_INSECURE=1) where the network keeps strangers out"
        )
    return settings


def _listening(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "host": options.host, "port": options.port, "view_port": options.view_port, "log_level": options.log_level,
        "insecure": options.insecure or None,
    }  # fmt: skip


def _serve(options: argparse.Namespace) -> int:
    settings = _settings(options)
    if not settings.redis_url:
        raise ConfigError("REDIS_URL: expected where Redis is, got none: set it, or use `hud up` for an embedded one")
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(contextlib.closing(bind(settings.host, settings.port)))
        _say(f"HUD  {_address(settings, listener.getsockname())}")
        serve(settings, listener, view_listener=_open_view(settings, stack))
    return 0


def _open_view(settings: Settings, stack: contextlib.ExitStack) -> socket.socket | None:
    """The listening socket of the viewing port, where one is wanted."""
    if settings.view_port is None:
        return None
    listener = stack.enter_context(contextlib.closing(bind(settings.host, settings.view_port)))
    _say(f"     {_address(settings, listener.getsockname())}  for looking only")
    return listener


def _up(options: argparse.Namespace) -> int:
    return _with_redis(options, lambda _settings: [])


def _demo(options: argparse.Namespace) -> int:
    demo.check_installed()
    arguments = [] if options.iterations is None else ["--iterations", str(options.iterations)]

    def companions(settings: Settings) -> list[Companion]:
        assert settings.redis_url is not None
        run = demo.TrainingRun(settings.redis_url, channel=settings.channel, arguments=arguments, say=_say)
        return [run.run]

    return _with_redis(options, companions)


def _with_redis(options: argparse.Namespace, companions: Callable[[Settings], list[Companion]]) -> int:
    """Serve on the Redis of REDIS_URL, or on one of our own for as long as we run."""
    settings = _settings(options)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(contextlib.closing(bind(settings.host, settings.port)))
        address = _address(settings, listener.getsockname())
        _say(f"HUD  {address}  (Ctrl-C ends it)")
        view_listener = _open_view(settings, stack)
        keepers: list[Companion] = []
        if not settings.redis_url:
            redis = stack.enter_context(EmbeddedRedis())
            settings = Settings.from_env(redis_url=redis.url, **_listening(options))
            keepers.append(redis.keep)
            _say(f"Send to it from any process here:  export REDIS_URL={redis.url}")
        _say(f"                        or by HTTP:  export HUD_URL={address}")
        serve(settings, listener, [*keepers, *companions(settings)], view_listener=view_listener)
    return 0


def _address(settings: Settings, bound: Any) -> str:
    host = settings.host
    if host in ("127.0.0.1", "0.0.0.0", "::1", "::"):
        host = "localhost"
    return f"http://{f'[{host}]' if ':' in host else host}:{bound[1]}"


def _leave(_number: int, _frame: FrameType | None) -> None:
    """SIGTERM ends what runs in order, like Ctrl-C, but as a success: that is how services are stopped."""
    raise SystemExit(0)


def _say(text: str) -> None:
    """Print a line; with HUD_LOG_FORMAT=json as an object too, for whoever collects both outputs reads each line so."""
    formatter = next((handler.formatter for handler in logging.getLogger().handlers), None)
    if isinstance(formatter, logs.JsonFormatter):
        text = formatter.format(logging.makeLogRecord({"name": "hud", "levelname": "INFO", "msg": text.strip()}))
    sys.stdout.write(text + os.linesep)
    sys.stdout.flush()


def _complain(error: HudError) -> None:
    sys.stderr.write(f"hud: {error}{os.linesep}")


if __name__ == "__main__":
    sys.exit(main())
