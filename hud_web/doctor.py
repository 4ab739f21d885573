"""`hud doctor`: looks at everything between a training job, Redis and the page, and says what is wrong and the fix.

It asks only what a client or a page would ask and changes nothing: no session, no entry. Run it where training runs,
with training's environment; for the page's side, with `--url` of what the browser opens. Called by the command line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from hud_publisher.protocol.errors import ConfigError
from hud_publisher.protocol.settings import Settings
from hud_web.doctor_redis import examine_redis
from hud_web.doctor_server import examine_server
from hud_web.findings import Finding, note, ok, problem

DEFAULT_URL = "http://localhost:8086"


@dataclass(frozen=True, slots=True)
class Case:
    """What is examined.

    Attributes:
        settings: of training, as the environment has them.
        hud_url: of the server; None where only Redis is named.
        listen_s: how long the stream is listened to; from 10 s on, heartbeats and time-outs on the way show.
    """

    settings: Settings
    hud_url: str | None
    listen_s: float


def doctor(options: argparse.Namespace) -> int:
    """Print each finding as it comes; exit code 1 if there is any problem."""
    worst = 0
    found: list[Finding] = []
    for finding in examine(options):
        found.append(finding)
        worst = max(worst, int(finding.level == "problem"))
        if not options.json:
            sys.stdout.write("\n".join(finding.lines()) + "\n")
            sys.stdout.flush()
    problems = [finding for finding in found if finding.level == "problem"]
    if options.json:
        sys.stdout.write(json.dumps({"ok": not problems, "findings": [one.as_dict() for one in found]}) + "\n")
    elif problems:
        sys.stdout.write(f"\n{len(problems)} to fix; begin with the first: {problems[0].text}\n")
    else:
        known = [finding for finding in found if finding.level == "note"]
        sys.stdout.write(f"\nnothing is broken; worth knowing: {known[0].text}\n" if known else "\nall is well\n")
    return worst


def examine(options: argparse.Namespace) -> Iterator[Finding]:
    """Yield what is found, in the order in which things depend on one another."""
    try:
        settings = Settings.from_env(channel=options.channel, hud_url=options.url, redis_url=options.redis_url)
    except ConfigError as error:
        yield problem("settings", str(error), "settings", "correct these variables; docs/settings.md lists them all")
        return
    hud_url = settings.hud_url
    if not hud_url and not settings.redis_url:
        hud_url = DEFAULT_URL
        yield note(
            "settings", f"neither HUD_URL nor REDIS_URL is set, so training shows nothing; looking at {DEFAULT_URL}",
            "unset", "set one of them in the environment of the training job",
        )  # fmt: skip
    else:
        names = [name for name, value in (("HUD_URL", hud_url), ("REDIS_URL", settings.redis_url)) if value]
        yield ok("settings", f"{' and '.join(names)} set, channel {settings.channel}")
    case = Case(settings, hud_url.rstrip("/") if hud_url else None, options.listen)
    if settings.redis_url:
        yield from asyncio.run(examine_redis(settings))
    if case.hud_url:
        yield from examine_server(case.hud_url, settings, listen_s=case.listen_s)
