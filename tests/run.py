"""Installs what the tests need and runs every part of the suite, several at once: `make test`.

Each job is a target of the Makefile. Most tests wait for processes and sockets, so the jobs of two cores take less time
side by side than in turn. A job starts when the jobs that it needs are done, enough of `ROOM` is left, and no earlier
job of `JOBS` waits for room. Its output goes to `.make/log/`; the output of each failed job is printed at the end, and
the names of the failed tests after it. This script runs on the system's Python, before anything is installed.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOGS = ROOT / ".make" / "log"
#: Percent of one core for jobs that run at once, on any number of cores: the tests' time limits fit two cores.
ROOM = 200
#: The end of the output names the failed tests; CI shows 60 lines of it.
MOST_NAMES = 40
ANNOUNCE_S = 60.0


@dataclass
class Job:
    """One `make` command.

    Attributes:
        target: the target of the Makefile.
        room: the percentage of one core that it uses on average, measured on two cores of which it has most.
        after: targets of jobs that must have succeeded.
    """

    target: str
    room: int
    after: Sequence[str] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    began: float = 0.0
    took_s: float = 0.0

    @property
    def log(self) -> Path:
        return LOGS / f"{self.target.strip('.').replace('/', '-')}.log"

    @property
    def last_line(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1].strip("= ") if lines else ""


DEV, SYSTEM, TOOLS, TRAINERS = ".make/dev", "system", ".make/tools/ok", ".make/trainers"
#: After all installations, which delay tests that compare times; a short job that began meanwhile would delay RLlib's.
CALM = (DEV, SYSTEM, TRAINERS, TOOLS)
#: Long jobs first: they determine when the last one ends. The short ones fill the time that is left.
JOBS = (
    Job(DEV, 0),
    Job(SYSTEM, 0),
    Job(TRAINERS, 50, (DEV,)),
    Job(TOOLS, 20, (DEV,)),
    Job("test-rllib", 130, CALM),
    Job("test-integration", 70, (DEV, SYSTEM)),
    Job("test-truth", 120, CALM),  # its pages fall behind the runs beside those of test-browser
    Job("test-pythons", 80, CALM),
    Job("test-faults-quick", 30, CALM),
    Job("test-contract", 40, CALM),
    Job("test-browser", 100, CALM),
    Job("test-manifests", 40, CALM),
    Job("test-unit", 60, CALM),
    Job("test-fuzz", 60, CALM),
)


class Run:
    """Starts jobs, waits for them, and reports."""

    def __init__(self, jobs: Sequence[Job], make: Sequence[str]) -> None:
        self.waiting, self.running, self.done, self.failed = list(jobs), list[Job](), set[str](), list[Job]()
        self.make = make
        self.began = time.monotonic()
        self.announced = self.began

    def finish(self) -> bool:
        """Run all jobs; return whether they succeeded. A failed job ends only those that need it."""
        try:
            while self.waiting or self.running:
                self._drop_orphans()
                self._start()
                self._collect()
        finally:
            self._stop()
        return not self.failed

    def _start(self) -> None:
        for job in [job for job in self.waiting if self.done.issuperset(job.after)]:
            if sum(other.room for other in self.running) + job.room > ROOM:
                break  # smaller jobs after it would keep it waiting
            self.waiting.remove(job)
            self.running.append(job)
            self._say(job, "started")
            job.began = time.monotonic()
            with job.log.open("wb") as log:
                job.process = subprocess.Popen(
                    [*self.make, job.target], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log,
                    stderr=subprocess.STDOUT, start_new_session=True,
                )  # fmt: skip

    def _drop_orphans(self) -> None:
        failed = {job.target for job in self.failed}
        for job in list(self.waiting):
            if lost := failed.intersection(job.after):
                self.waiting.remove(job)
                self.failed.append(job)
                job.log.write_text(f"not run, because {', '.join(sorted(lost))} failed\n")
                self._say(job, job.last_line)

    def _collect(self) -> None:
        for job in list(self.running):
            assert job.process is not None
            code = job.process.poll()
            if code is None:
                continue
            self.running.remove(job)
            job.took_s = time.monotonic() - job.began
            if code:
                self.failed.append(job)
            else:
                self.done.add(job.target)
            self._say(job, f"{'FAILED' if code else 'passed'} after {job.took_s:.0f} s: {job.last_line[:80]}")
        if time.monotonic() > self.announced + ANNOUNCE_S and self.running:
            print(f"{self._clock()} running: {', '.join(job.target for job in self.running)}", flush=True)
            self.announced = time.monotonic()
        time.sleep(0.1)

    def _say(self, job: Job, text: str) -> None:
        print(f"{self._clock()} {job.target:<18} {text}", flush=True)
        self.announced = time.monotonic()

    def _clock(self) -> str:
        seconds = int(time.monotonic() - self.began)
        return f"{seconds // 60:3}:{seconds % 60:02}"

    def _stop(self) -> None:
        for job in self.running:
            assert job.process is not None
            os.killpg(job.process.pid, signal.SIGTERM)
        for job in self.running:
            assert job.process is not None
            job.process.wait()

    def report(self) -> None:
        """Print the output of each failed job, then the names of the failed tests."""
        names = []
        for job in self.failed:
            output = job.log.read_text(errors="replace")
            print(f"\n{'=' * 20} {job.target} {'=' * 20}\n{output}")
            tests = re.findall(r"^(?:FAILED|ERROR) tests/.*$", output, re.M)
            names += tests or [f"FAILED {job.target}: {job.last_line}"]
        if self.failed:
            print(f"\n{'=' * 20} failed {'=' * 20}")
            print("\n".join(name[:200] for name in names[:MOST_NAMES]))
            if len(names) > MOST_NAMES:
                print(f"… and {len(names) - MOST_NAMES} more, above")
        print(f"{self._clock()} {', '.join(job.target for job in self.failed) or 'no job'} failed", flush=True)


def main() -> None:
    """Run JOBS; exit with 1 if one failed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    LOGS.mkdir(parents=True, exist_ok=True)
    run = Run(JOBS, ("make", "--no-print-directory"))
    is_success = run.finish()
    run.report()
    sys.exit(not is_success)


if __name__ == "__main__":
    main()
