"""Runs the programs, reads the verdict of each twice a second, and prints a table; exits with 1 if one is judged wrong.

python -m tests.verdicts [NAME …] [--at-once 6]
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.fixtures.servers import redis_binary, running
from tests.fixtures.web import WebServer
from tests.verdicts.runs import FAILING, HEALTHY

#: The first line must name the fault within this time of its appearance, in seconds.
SOON_S = 60.0
#: Levels that accuse a run.
ACCUSING = ("warning", "bad")


@dataclass
class Outcome:
    """What the first line said about a run: (seconds since the start, level, text) at each change."""

    name: str
    appeared_s: float | None = None
    lines: list[tuple[float, str, str]] = field(default_factory=list)
    code: int | None = None

    def judge(self) -> tuple[bool, str]:
        """Return whether the run was judged right, and the reason."""
        if self.name in HEALTHY:
            wrong = [f"{at:.0f} s: {text}" for at, level, text in self.lines if level in ACCUSING]
            return not wrong and bool(self.lines), wrong[0] if wrong else self.lines[-1][
                2
            ] if self.lines else "no verdict"
        if self.appeared_s is None:
            return False, f"the fault did not appear (exit code {self.code})"
        pattern = FAILING[self.name][1]
        for at, level, text in self.lines:
            if at >= self.appeared_s - 1 and level in (*ACCUSING, "ended") and re.search(pattern, text):
                return at - self.appeared_s <= SOON_S, f"{at - self.appeared_s:.0f} s: {text}"
        return False, f"never; last: {self.lines[-1] if self.lines else 'no verdict'}"


def follow(name: str, redis_url: str, web: WebServer) -> Outcome:
    """Run one program and record its verdicts until a minute after the fault appeared."""
    outcome = Outcome(name)
    environ = {**os.environ, "REDIS_URL": redis_url, "HUD_CHANNEL": name.replace("_", "-"), "OMP_NUM_THREADS": "1"}
    began = time.monotonic()
    program = subprocess.Popen(
        [sys.executable, "-m", "tests.verdicts.runs", name], env=environ, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip

    def listen() -> None:
        assert program.stdout is not None
        for line in program.stdout:
            if line.startswith("APPEARED") and outcome.appeared_s is None:
                outcome.appeared_s = time.monotonic() - began

    threading.Thread(target=listen, daemon=True).start()
    channel = environ["HUD_CHANNEL"]
    ended_at = None
    while True:
        verdict = web.get(f"/api/state?channel={channel}")[1].get("verdict")
        now = time.monotonic() - began
        if verdict and (not outcome.lines or outcome.lines[-1][1:] != (verdict["level"], verdict["text"])):
            outcome.lines.append((now, verdict["level"], verdict["text"]))
        if ended_at is None and program.poll() is not None:
            ended_at, outcome.code = now, program.returncode
        appeared = outcome.appeared_s
        is_over = appeared is not None and name in FAILING and (now > appeared + SOON_S + 5 or outcome.judge()[0])
        if is_over or (ended_at is not None and now > ended_at + (5 if name in HEALTHY else SOON_S + 5)):
            break
        time.sleep(0.5)
    program.kill()
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=[*FAILING, *HEALTHY])
    parser.add_argument("--at-once", type=int, default=6)
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running(redis_binary(), Path(folder)) as redis:
        web = WebServer(redis.url)
        with ThreadPoolExecutor(options.at_once) as pool:
            outcomes = list(pool.map(lambda name: follow(name, redis.url, web), options.names))
        web.close()
    failed = 0
    for outcome in outcomes:
        is_right, why = outcome.judge()
        failed += not is_right
        print(f"{'ok   ' if is_right else 'WRONG'} {outcome.name:32} {why}", flush=True)
        if options.verbose or not is_right:
            for at, level, text in outcome.lines[-6:]:
                print(f"        {at:5.1f} s {level:8} {text}")
    print(f"{len(outcomes) - failed} of {len(outcomes)} judged right")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
