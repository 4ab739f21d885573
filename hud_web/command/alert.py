"""`hud alert test`: sends a test message to every target of HUD_ALERTS, and names each failure and its fix.

Needs neither Redis nor a server. No line shows any part of a target's URL. Called by the command line.
"""

from __future__ import annotations

import argparse
import threading
from urllib.parse import urlencode

from hud_publisher.protocol.errors import ConfigError
from hud_web.alerts.config import read_config
from hud_web.alerts.target import Target
from hud_web.command.printing import flush, print_line
from hud_web.settings import WebSettings

#: A target that has not answered by then counts as failed.
TIMEOUT_S = 45.0


def test(options: argparse.Namespace) -> int:
    """Print the result of each target; exit code 0 if all of them accepted the message."""
    # It uses no Redis, so a malformed REDIS_URL must not stop it.
    settings = WebSettings.from_env(channel=options.channel, redis_url="")
    if settings.alerts is None:
        raise ConfigError(
            "HUD_ALERTS is not set: set it as for the server, to URLs of Apprise or the path of a TOML file"
        )
    config = read_config(settings.alerts, settings.page_url)
    link = f"\n{config.link}/?{urlencode({'channel': settings.channel})}" if config.link else ""
    body = f"Alerts of the channel {settings.channel} arrive here.{link}"
    results: dict[str, str | None] = {}

    def send(target: Target) -> None:
        results[target.id] = target.send("HUD: test of alerts", body, is_good=True)

    threads = {key: threading.Thread(target=send, args=(one,), daemon=True) for key, one in config.targets.items()}
    for thread in threads.values():
        thread.start()
    for key, target in config.targets.items():
        threads[key].join(TIMEOUT_S)
        failure = results.get(key, f"it did not answer within {TIMEOUT_S:g} s: check the receiver")
        print_line(f"{target.name}: {'delivered' if failure is None else f'failed, {failure}'}")
        flush()
    return 0 if all(results.get(key, "") is None for key in config.targets) else 1
