"""The suite passes as a background job of a script, under nohup, and under a supervisor that blocks signals."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: SIGCHLD is the one whose inheritance makes `wait` fail.
IGNORED = [signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1]


def test_a_child_of_the_suite_inherits_no_ignored_and_no_blocked_signal() -> None:
    status = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, check=True).stdout
    masks = dict(re.findall(r"^(Sig(?:Ign|Blk)):\s*([0-9a-f]+)$", status, re.M))
    # In processes that `make` starts, the C library ignores some internal signals; no program can change those.
    ours = sum(1 << (number - 1) for number in signal.valid_signals())
    assert {name: int(mask, 16) & ours for name, mask in masks.items()} == {"SigIgn": 0, "SigBlk": 0}


def test_the_suite_itself_can_be_interrupted() -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("started", ["with signals ignored", "with signals blocked"])
def test_the_suite_passes_however_it_is_started(started: str) -> None:
    def prepare() -> None:
        if started.endswith("ignored"):
            for number in IGNORED:
                signal.signal(number, signal.SIG_IGN)
        else:
            signal.pthread_sigmask(signal.SIG_BLOCK, IGNORED)

    names = ("a_child_of_the_suite_inherits_no_ignored_and_no_blocked_signal", "the_suite_itself_can_be_interrupted")
    tests = [f"{__file__}::test_{name}" for name in names]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        cwd=ROOT, capture_output=True, text=True, timeout=60, preexec_fn=prepare,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_a_hangup_does_not_end_the_suite_under_nohup() -> None:
    code = "import signal, tests.conftest; signal.raise_signal(signal.SIGHUP); print('lives')"
    done = subprocess.run(
        ["nohup", sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert "lives" in done.stdout, done.stderr
