"""Each way in which a process may end is reported once, and the hooks of other programs stay in use."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from hud_publisher.deaths import mark_as_noted, of_exception
from hud_publisher.failure import MAX_FRAMES, describe, short_path

ROOT = Path(__file__).parents[3]
#: A publisher whose sink appends each report to the file that the first argument names.
HEAD = """
import atexit, json, os, signal, sys, threading, time
from hud_publisher import Publisher
from tests.fixtures.publishing import MemorySink

class FileSink(MemorySink):
    def publish(self, session_id, batch):
        with open(sys.argv[1], "a") as file:
            for entry in batch.entries:
                if entry.stream == "reports":
                    print(json.dumps({"pid": os.getpid(), **entry.data}), file=file, flush=True)
        return super().publish(session_id, batch)

    def release(self, session_id):
        with open(sys.argv[1], "a") as file:
            print(json.dumps({"pid": os.getpid(), "released": True}), file=file, flush=True)

def publish(**options):
    hud = Publisher(redis_url="redis://nowhere.invalid", **options)
    hud._sink_factory = lambda _publisher: FileSink()
    hud.log({"a": 1}, step=1)
    return hud

hud = publish()
"""


def run(tmp_path: Path, program: str, **environ: str) -> tuple[subprocess.CompletedProcess[str], list[dict[str, Any]]]:
    """Run a program; return how it ended, and the lines of its sink."""
    file, found = tmp_path / "program.py", tmp_path / "reports.jsonl"
    file.write_text(HEAD + textwrap.dedent(program))
    found.touch()
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HUD_", "REDIS_"))}
    ended = subprocess.run(
        [sys.executable, str(file), str(found)], capture_output=True, text=True, timeout=60,
        env=clean | {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)} | environ,
    )  # fmt: skip
    return ended, [json.loads(line) for line in found.read_text().splitlines()]


def deaths(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if line.get("kind") == "death"]


def test_an_exception_that_nothing_catches_is_reported_with_its_frames_and_its_cause(tmp_path: Path) -> None:
    ended, lines = run(
        tmp_path,
        """
        def inner():
            raise KeyError("no such level")

        def outer():
            try:
                inner()
            except KeyError as error:
                raise ValueError("the level did not load") from error

        outer()
        """,
    )
    [death] = deaths(lines)
    assert death["exception"] == "ValueError"
    assert death["message"] == "the level did not load\ncaused by KeyError: 'no such level'"
    assert death["traceback"][1].endswith('in inner: raise KeyError("no such level")')
    assert death["traceback"][1].startswith("~/program.py:")
    assert any(line == "which caused ValueError:" for line in death["traceback"])
    assert death["exit_code"] == 1
    assert death["memory_bytes"] > 1e6
    assert lines[-1].get("released")
    assert ended.returncode == 1
    assert "the level did not load\n" in ended.stderr  # another thread may log in the middle of a line


@pytest.mark.parametrize(
    ("program", "code", "exception", "message"),
    [
        ("sys.exit(3)", 3, "SystemExit", ""),
        ("sys.exit('no data')", 1, "SystemExit", "no data"),
        ("def train(hud):\n    sys.exit(5)\nhud = None\ntrain(publish())", 5, "SystemExit", ""),
        ("try:\n    1 / 0\nfinally:\n    hud.close()", 1, "ZeroDivisionError", "division by zero"),
        ("with hud:\n    [][1]", 1, "IndexError", "list index out of range"),
        ("with hud:\n    raise SystemExit(4)", 4, "SystemExit", ""),
        ("sys.excepthook = lambda *_: None\n1 / 0", 1, "ZeroDivisionError", "division by zero"),
    ],
)
def test_other_ends_by_python(tmp_path: Path, program: str, code: int, exception: str, message: str) -> None:
    ended, lines = run(tmp_path, program)
    [death] = deaths(lines)
    assert (death["exception"], death["message"], death["exit_code"]) == (exception, message, code)
    assert ended.returncode == code


@pytest.mark.parametrize(
    "program",
    [
        "hud.close()",
        "sys.exit(0)",
        "try:\n    1 / 0\nexcept ZeroDivisionError:\n    pass",
        "try:\n    sys.exit(2)\nexcept SystemExit:\n    hud.log({'a': 2})",
        "def steps():\n    with hud:\n        yield 1\nnext(steps())",
    ],
)
def test_a_normal_end_and_a_caught_exception_are_no_death(tmp_path: Path, program: str) -> None:
    ended, lines = run(tmp_path, program)
    assert ended.returncode == 0
    assert deaths(lines) == []


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_is_reported_and_ends_the_process_as_before(tmp_path: Path, name: str) -> None:
    ended, lines = run(tmp_path, f"os.kill(os.getpid(), signal.{name})\ntime.sleep(30)")
    [death] = deaths(lines)
    assert death["signal"] == name
    assert lines[-1].get("released")
    assert ended.returncode == -signal.Signals[name]


def test_an_interrupt_is_reported(tmp_path: Path) -> None:
    _ended, lines = run(tmp_path, "os.kill(os.getpid(), signal.SIGINT)\ntime.sleep(30)")
    [death] = deaths(lines)
    assert (death["exception"], death["signal"]) == ("KeyboardInterrupt", "SIGINT")


def test_handlers_and_hooks_of_others_stay_in_use(tmp_path: Path) -> None:
    ended, lines = run(
        tmp_path,
        """
        hud.close()
        signal.signal(signal.SIGHUP, lambda *_: print("theirs"))
        sys.excepthook = lambda kind, *_: print("hook of a notebook:", kind.__name__)
        import hud_publisher.deaths as deaths
        deaths._is_installed = False  # as if HUD were loaded only now
        second = publish()
        os.kill(os.getpid(), signal.SIGHUP)
        raise LookupError("gone")
        """,
    )
    assert ended.stdout.splitlines() == ["theirs", "hook of a notebook: LookupError"]
    assert [death["exception"] for death in deaths(lines)] == ["LookupError"]


def test_an_exception_of_a_thread_names_the_thread_and_the_process_goes_on(tmp_path: Path) -> None:
    ended, lines = run(
        tmp_path,
        """
        thread = threading.Thread(target=lambda: 1 / 0, name="loader")
        thread.start()
        thread.join()
        """,
    )
    [death] = deaths(lines)
    assert (death["thread"], death["exception"]) == ("loader", "ZeroDivisionError")
    assert "exit_code" not in death
    assert ended.returncode == 0
    assert "ZeroDivisionError" in ended.stderr


def test_a_forked_child_reports_its_own_death_and_its_termination_is_none(tmp_path: Path) -> None:
    _ended, lines = run(
        tmp_path,
        """
        children = []
        for error in (ValueError("in the child"), None):
            child = os.fork()
            if child == 0:
                hud._sink_factory = lambda _publisher: FileSink()
                hud.log({"a": 2})
                while not hud.stats.sent:
                    time.sleep(0.01)
                if error is not None:
                    try:
                        raise error
                    except ValueError:
                        sys.excepthook(*sys.exc_info())
                        hud.close()
                        os._exit(1)
                open(sys.argv[1] + ".ready", "w").close()
                time.sleep(30)
            children.append(child)
        while not os.path.exists(sys.argv[1] + ".ready"):
            time.sleep(0.01)
        os.kill(children[1], signal.SIGTERM)
        for child in children:
            os.waitpid(child, 0)
        print(os.getpid())
        """,
    )
    found = deaths(lines)
    assert {death["message"] for death in found} == {"in the child"}
    assert len(found) == 1


def test_secrets_do_not_leave_the_process(tmp_path: Path) -> None:
    _ended, lines = run(
        tmp_path,
        """
        def connect(url):
            raise ConnectionError(f"cannot reach {url} with {os.environ['MY_API_KEY']}")  # password="in-the-code"

        connect("redis://:in-the-url@cache:6379")
        """,
        MY_API_KEY="in-the-environment",
    )
    [death] = deaths(lines)
    assert death["message"] == "cannot reach redis://[redacted]@cache:6379 with [redacted]"
    for secret in ("in-the-url", "in-the-environment", "in-the-code"):
        assert secret not in str(lines)


def test_a_deep_recursion_and_an_exception_without_a_text_are_described() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise TypeError("no text")

    def down() -> None:
        down()

    with pytest.raises(RecursionError) as caught:
        down()
    found = describe(caught.value)
    assert len(found["traceback"]) == MAX_FRAMES
    assert describe(Odd())["message"] == ""
    assert of_exception(None) is None
    mark_as_noted(caught.value)
    assert of_exception(caught.value) is None


TRACEBACK = (
    "\x1b[36mray::PPOTorchLearner.apply()\x1b[39m (pid=77)\n"
    '  File "/x/site-packages/lib/a.py", line 3, in learn\n    raise ValueError\n'
)


class RayTaskError(Exception):
    """As in ray: the error of a task, which has the exception of another process and its traceback as text."""

    def __init__(self, cause: Exception) -> None:
        self.cause, self.traceback_str = cause, TRACEBACK


class RayTaskErrorOfCause(RayTaskError, ValueError):
    """As ray makes it to be caught as its cause: the traceback is its text."""

    def __init__(self, cause: Exception) -> None:
        self.cause = cause

    def __str__(self) -> str:
        return TRACEBACK


@pytest.mark.parametrize("kind", [RayTaskError, RayTaskErrorOfCause])
def test_an_exception_of_ray_is_described_by_its_cause(kind: Any) -> None:
    found = describe(kind(ValueError("bad batch")))
    assert (found["exception"], found["message"]) == ("ValueError", "bad batch")
    assert found["traceback"] == ["lib/a.py:3 in learn: raise ValueError"]


def test_a_copy_of_an_exception_of_ray_is_noted_with_it() -> None:
    class Copied(RayTaskErrorOfCause):
        def __getattr__(self, name: str) -> Any:
            return getattr(self.cause, name)  # as ray's

    error = Copied(ValueError("bad batch"))
    mark_as_noted(error)
    assert of_exception(Copied(error.cause)) is None


def test_a_bare_runtime_error_is_described_by_its_cause() -> None:
    try:
        try:
            raise ValueError("the emulator stopped")
        except ValueError as error:
            raise RuntimeError from error
    except RuntimeError as error:
        found = describe(error)
    assert (found["exception"], found["message"]) == ("ValueError", "the emulator stopped")


def test_paths_are_shown_without_the_home_directory() -> None:
    home = os.path.expanduser("~")
    assert short_path(f"{home}/project/train.py") == "~/project/train.py"
    assert short_path("/opt/env/lib/python3.11/site-packages/torch/nn/a.py") == "torch/nn/a.py"
    assert short_path(json.__file__) == "json/__init__.py"
