"""`hud doctor`: checks everything between a training job, Redis and the page, and names each fault and its fix.

It sends only requests of a client or a page and changes nothing: no session, no entry. Run it on the machine and in the
environment of training. To check the page, pass the URL that the browser opens as `--url`. Called by the command line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Iterator
from dataclasses import asdict, replace

from hud_publisher.protocol.errors import ConfigError
from hud_publisher.protocol.transport.local_redis import find_local_redis
from hud_web.command.folder_lock import running_page
from hud_web.command.printing import flush, print_json, print_line
from hud_web.doctor.findings import Finding, note, ok, problem
from hud_web.doctor.redis import examine_redis
from hud_web.doctor.server import examine_server
from hud_web.settings import DEFAULT_URL, WebSettings


def doctor(options: argparse.Namespace) -> int:
    """Print each finding as soon as it is known; exit code 1 if there is any problem."""
    worst = 0
    found: list[Finding] = []
    for finding in examine(options):
        found.append(finding)
        worst = max(worst, int(finding.level == "problem"))
        if not options.json:
            for line in finding.lines():
                print_line(line)
            flush()
    problems = [finding for finding in found if finding.level == "problem"]
    if options.json:
        print_json(json.dumps({"ok": not problems, "findings": [asdict(one) for one in found]}))
        return worst
    known = [finding for finding in found if finding.level == "note"]
    print_line("")
    if problems:
        print_line(f"{len(problems)} to fix, beginning with the first: {problems[0].text}")
    else:
        print_line(f"no problem found; note: {known[0].text}" if known else "no problem found")
    return worst


def examine(options: argparse.Namespace) -> Iterator[Finding]:
    """Yield the findings in the order of dependency."""
    try:
        settings = WebSettings.from_env(channel=options.channel, hud_url=options.url, redis_url=options.redis_url)
    except ConfigError as error:
        yield problem("settings", str(error), "settings", "correct these variables; docs/settings.md lists them all")
        return
    hud_url = settings.hud_url
    if not hud_url and not settings.redis_url:
        hud_url = running_page(settings) or DEFAULT_URL
        found = find_local_redis(settings)
        if found is None:
            yield note(
                "settings", "neither HUD_URL nor REDIS_URL is set and no `hud up` of this user runs here, so training "
                f"publishes nothing; checking {hud_url}",
                "unset", "start `hud up` on the machine of the training job, or set one of them in its environment",
            )  # fmt: skip
        else:
            settings = replace(settings, redis_url=found)
            yield ok("settings", f"no variable is set, and training finds the `hud up` of this user: {found}")
    else:
        redis_name = settings.redis_url_variable
        names = [name for name, value in ((redis_name, settings.redis_url), ("HUD_URL", hud_url)) if value]
        first = f": training publishes to {names[0]}" if len(names) > 1 else ""
        yield ok("settings", f"{' and '.join(names)} set{first}, channel {settings.channel}")
    if settings.redis_url:
        yield from asyncio.run(examine_redis(settings))
    if hud_url:
        yield from examine_server(hud_url.rstrip("/"), settings, listen_s=options.listen)
