"""Reads the arguments of a publisher: its settings, its name, its description. Called by hud_publisher.publisher."""

from __future__ import annotations

import difflib
import os
import re
import secrets
import socket
import sys
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from hud_publisher.description import Description
from hud_publisher.intake.copying import check_fields
from hud_publisher.once import log_once
from hud_publisher.protocol.errors import ConfigError
from hud_publisher.protocol.info import clean_info
from hud_publisher.protocol.names import clean_name
from hud_publisher.protocol.settings import RETIRED, Retention, Settings
from hud_publisher.protocol.transport.http_client import parse_hud_url
from hud_publisher.protocol.transport.local_redis import find_local_redis
from hud_publisher.protocol.urls import parse_redis_url

#: Fields of a session's description that the web tier takes.
MAX_INFO = 64
#: Arguments of Publisher that are not settings.
ARGUMENTS = ("name", "info", "settings", "takeover")
#: Old names of arguments, accepted with one log line until the next release.
RENAMED = {"gathers": "batch_frames"}
#: The role of an env runner.
_ENV_RUNNER = re.compile(r"w(\d{1,6})")
#: Programs that run a user's code, by the stem of their file, and the name that users know them by.
LAUNCHERS = {
    "": "python",
    "-c": "python",
    "-m": "python",
    "-": "python",
    "ipykernel_launcher": "notebook",
    "colab_kernel_launcher": "notebook",
    "default_worker": "ray",
}


def read_settings(settings: Settings | None, overrides: dict[str, Any]) -> Settings:
    """Return the given settings, or those of the environment; arguments of the caller take precedence over both.

    Without any address, the one of this user's running `hud up` is used.

    Raises:
        ConfigError: a setting is wrong; the message names each wrong one.
    """
    if settings is not None and not issubclass(type(settings), Settings):
        kind = type(settings).__name__
        raise ConfigError(f"Publisher(settings=): expected Settings, got {kind}: use Settings.from_env()")
    for old in RENAMED.keys() & overrides.keys():
        log_once(old, "HUD: Publisher(%s=) is called %s= now: change its name", old, RENAMED[old])
        overrides.setdefault(RENAMED[old], overrides.pop(old))
    given = {field: _plain(field, value) for field, value in overrides.items() if value is not None}
    unknown = sorted(given.keys() - {*Settings.__slots__, *RETIRED})
    if unknown:
        close = difflib.get_close_matches(unknown[0], [*ARGUMENTS, *Settings.__slots__], n=1)
        hint = f"did you mean {close[0]}=? " if close else ""
        raise ConfigError(
            f"Publisher() has no argument {clean_name(unknown[0])}=: {hint}help(Publisher) and help(Settings) list all"
        )
    if "hud_url" in given and "redis_url" not in given:
        given["redis_url"] = ""  # the caller's choice takes precedence over REDIS_URL and HUD_REDIS_URL
    if settings is not None:
        # Read again, so that arguments are checked as the environment is.
        kept = {field: getattr(settings, field) for field in Settings.__slots__}
        settings = Settings.from_env({}, **(kept | given))
    else:
        settings = Settings.from_env(**given)
        if not settings.redis_url and not settings.hud_url:
            settings = replace(settings, redis_url=find_local_redis(settings))
    if settings.hud_url and not settings.redis_url:
        parse_hud_url(settings.hud_url)
    if settings.redis_url and not hasattr(socket, "AF_UNIX") and parse_redis_url(settings.redis_url).kind == "unix":
        raise ConfigError(f"{settings.redis_url_variable}: this system has no Unix sockets: use a redis:// URL")
    return settings


def _plain(field: str, value: Any) -> Any:
    """Return a value as `Settings` reads it: text, a number, or a collection; numpy's numbers become text."""
    if issubclass(type(value), (str, int, float, list, tuple, Retention)):
        return value
    try:
        return str(value)
    except Exception as error:  # a foreign object's methods may raise anything
        raise ConfigError(f"Publisher({field}=): expected text or a number, got {type(value).__name__}") from error


def run_name(name: object = None) -> str:
    """Return the run's name for people: the given one, or one made of the program's and the host's name."""
    text = clean_name(name).strip() if name is not None else ""
    return text or clean_name(f"{_program_name()}@{host_name()}")


def _program_name() -> str:
    """The program as people call it. An interpreter that another program embeds has no sys.argv, or an empty one."""
    argv: Any = getattr(sys, "argv", None)
    path = argv[0] if isinstance(argv, (list, tuple)) and argv else ""
    if not isinstance(path, str):
        return "python"
    file = PurePath(path)
    stem = file.parent.name if file.stem == "__main__" else file.stem  # python -m package, python folder
    return LAUNCHERS.get(stem, stem)


def host_name() -> str:
    """Return the name of this machine; "localhost" if it has none."""
    try:
        return socket.gethostname() or "localhost"
    except (OSError, ValueError):  # forbidden by a sandbox, or not decodable
        return "localhost"


def read_info(info: object) -> dict[str, str]:
    """Return the text fields of a session's description.

    Raises:
        ConfigError: it is not a mapping, or has too many fields.
    """
    if info is None:
        return {}
    try:
        fields = clean_info(dict(check_fields(info, "info")))
    except Exception as error:  # a foreign object's methods may raise anything
        raise ConfigError(
            f'Publisher(info=): expected names and texts, got {type(info).__name__}: write info={{"env": "Zelda"}}'
        ) from error
    if len(fields) > MAX_INFO:
        raise ConfigError(
            f"Publisher(info=): expected at most {MAX_INFO} fields, got {len(fields)}: log configurations with "
            'hud.log({"config": {…}})'
        )
    return fields


def read_config(config: object) -> Description:
    """Return the description of a run that consists of its configuration.

    Raises:
        ConfigError: it is not a mapping.
    """
    description = Description()
    if config is not None:
        try:
            description.configure(config)  # type: ignore[arg-type]  # it checks the type
        except Exception as error:  # a foreign object's methods may raise anything
            raise ConfigError(
                f"Publisher(config=): expected names and values, got {type(config).__name__}: write "
                'config={"lr": 3e-4}, or vars(args) for the arguments of argparse'
            ) from error
    return description


def read_flag(name: str, value: object) -> bool:
    """Return a flag.

    Raises:
        ConfigError: it is neither True nor False.
    """
    try:
        return bool(value)
    except Exception as error:  # a foreign object's methods may raise anything
        raise ConfigError(f"Publisher({name}=): expected True or False, got {type(value).__name__}") from error


def writer_name(role: object) -> str:
    """A unique and readable name: the role, the host, the process id and a random part for each publisher."""
    parts = ["" if role is None else clean_name(role), host_name()[:40], str(os.getpid()), secrets.token_hex(3)]
    return re.sub(r"[^A-Za-z0-9_.:/\-]", "_", "-".join(part for part in parts if part))[-80:]


def process_name(role: object, writer: str) -> str:
    """Return the name by which people know a process of the run: "driver", "env runner 2", else the writer's name.

    Args:
        role: of the process: "driver", or "w2" for the second env runner. "w0" samples in the driver's process.
        writer: the writer's name.
    """
    text = "" if role is None else clean_name(role)
    index = _ENV_RUNNER.fullmatch(text)
    if text == "driver" or (index and int(index[1]) == 0):
        return "driver"
    return f"env runner {int(index[1])}" if index else writer.replace("/", "-")


def describes_run(role: str | None, begins: bool | None) -> bool | None:
    """Whether a process tells where the run comes from; None: it does if it is the first to register.

    Args:
        role: of the process: the driver does, and an env runner never does.
        begins: whether the process began the run; None: if it is the first to register.
    """
    if role == "driver":
        return begins is not False
    return False if is_env_runner(role) else begins


def is_env_runner(role: str | None) -> bool:
    """Whether the process with this role samples for a driver."""
    return bool(role and _ENV_RUNNER.fullmatch(role))
