"""Programs that fork, spawn, copy, and end in every way: each statement of docs/publisher.md, "Processes"."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from hud_publisher.protocol.keys import ChannelKeys
from tests.fixtures.servers import Server, wait_until

KEYS = ChannelKeys("default")
#: Every program begins with this; `hud` is made when the module is imported, also where a child imports it again.
HEAD = """
import atexit, copy, gc, multiprocessing, os, pickle, signal, sys, threading, time
from hud_publisher import Publisher

hud = Publisher()

def log(first, count=100, hud=hud):
    for step in range(first, first + count):
        hud.log({"a": step}, step=step)

def settle(hud=hud):
    while not hud.stats.sent or any(hud.stats.pending.values()):
        time.sleep(0.002)
"""
Run = Callable[..., subprocess.CompletedProcess[str]]


@dataclass
class Stored:
    """The data that one program left in Redis."""

    server: Server

    def sessions(self) -> list[str]:
        return [entry[b"sid"].decode() for entry in self._events() if entry[b"kind"] == b"started"]

    def kinds(self) -> list[str]:
        return [entry[b"kind"].decode() for entry in self._events()]

    def steps(self) -> list[int]:
        """The steps of all sessions, sorted."""
        with redis.Redis.from_url(self.server.url) as link:
            return sorted(
                int(fields[b"step"])
                for sid in self.sessions()
                for _id, fields in link.xrange(KEYS.session(sid).stream("metrics"))
            )

    def is_held(self) -> bool:
        with redis.Redis.from_url(self.server.url) as link:
            return bool(link.exists(KEYS.lock))

    def _events(self) -> list[dict[bytes, bytes]]:
        with redis.Redis.from_url(self.server.url) as link:
            entries: Any = link.xrange(KEYS.events)
            return [fields for _id, fields in entries]


@pytest.fixture
def stored(redis_server: Server) -> Stored:
    return Stored(redis_server)


@pytest.fixture
def start(redis_server: Server, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start a program from a file, since children of multiprocessing import it again."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HUD_", "REDIS_"))}

    def start_program(text: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        file = tmp_path / "program.py"
        file.write_text(HEAD + textwrap.dedent(text))
        return subprocess.Popen(
            # Python 3.12 and later warn of every fork of a process with threads.
            [sys.executable, "-W", "ignore::DeprecationWarning", str(file), *arguments],
            env=clean | {"REDIS_URL": redis_server.url} | environment,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    return start_program


@pytest.fixture
def run(start: Callable[..., subprocess.Popen[str]]) -> Run:
    """Run a program to its end."""

    def run_program(text: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        program = start(text, *arguments, **environment)
        try:
            out, error = program.communicate(timeout=60)
        finally:
            program.kill()
        lines = [line for line in error.splitlines() if "HUD: publishing to" not in line]  # every run names its target
        return subprocess.CompletedProcess([], program.returncode, out, "\n".join(lines))

    return run_program


methods = pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])


# -- children of multiprocessing --------------------------------------------------------------------------------------


@methods
def test_a_process_of_multiprocessing_sends_its_entries_and_leaves_the_session(
    run: Run, stored: Stored, method: str
) -> None:
    ended = run(
        """
        if __name__ == "__main__":
            log(0)
            context = multiprocessing.get_context(sys.argv[1])
            children = [context.Process(target=log, args=(1000 * n, 500)) for n in (1, 2)]
            for child in children:
                child.start()
            for child in children:
                child.join()
            print([child.exitcode for child in children])
            log(100)
        """,
        method,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "[0, 0]\n", "")
    assert stored.steps() == [*range(200), *range(1000, 1500), *range(2000, 2500)]
    assert stored.kinds() == ["started", "joined", "joined", "ended"]


@methods
def test_entries_that_a_thread_of_a_child_logs_after_its_work_are_sent(run: Run, stored: Stored, method: str) -> None:
    ended = run(
        """
        def work():
            def late():
                time.sleep(0.3)
                log(2)
            threading.Thread(target=late).start()
            log(1, 1)

        if __name__ == "__main__":
            child = multiprocessing.get_context(sys.argv[1]).Process(target=work)
            child.start()
            child.join()
        """,
        method,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert stored.steps() == [*range(1, 102)]


@methods
def test_workers_of_pools_send_their_entries(run: Run, stored: Stored, method: str) -> None:
    ended = run(
        """
        if __name__ == "__main__":
            from concurrent.futures import ProcessPoolExecutor
            context = multiprocessing.get_context(sys.argv[1])
            with ProcessPoolExecutor(2, mp_context=context) as pool:
                list(pool.map(log, [1000, 2000, 3000]))
            pool = context.Pool(2)
            pool.map(log, [4000, 5000, 6000])
            pool.close()
            pool.join()
            log(0)
        """,
        method,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert stored.steps() == sorted(1000 * n + step for n in range(7) for step in range(100))
    assert len(stored.sessions()) == 1


def test_entries_that_workers_sent_survive_the_termination_of_their_pool(run: Run, stored: Stored) -> None:
    """`with Pool()` ends with SIGTERM to the workers, and no Python code in them runs after it."""
    ended = run(
        """
        def work(first):
            log(first)
            settle()

        if __name__ == "__main__":
            with multiprocessing.get_context("fork").Pool(2) as pool:
                pool.map(work, [1000, 2000], chunksize=1)
            log(0)
        """
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert stored.steps() == [*range(100), *range(1000, 1100), *range(2000, 2100)]


@methods
def test_a_pickled_publisher_that_comes_first_and_ends_first_leaves_the_session_to_its_run(
    run: Run, stored: Stored, method: str
) -> None:
    ended = run(
        """
        def work(first, hud):
            log(first, 5, hud)

        if __name__ == "__main__":
            mine = Publisher()
            child = multiprocessing.get_context(sys.argv[1]).Process(target=work, args=(0, mine))
            child.start()
            child.join()
            log(5, 5, mine)
            settle(mine)
        """,
        method,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert stored.steps() == [*range(10)]
    assert stored.kinds() == ["started", "joined", "ended"]


def test_the_session_outlives_children_that_the_program_did_not_wait_for(run: Run, stored: Stored) -> None:
    """multiprocessing waits for them at exit; its exit function runs last, as it was imported first."""
    ended = run(
        """
        def work():
            log(1)
            time.sleep(0.5)
            log(101)

        if __name__ == "__main__":
            log(0, 1)
            settle()
            multiprocessing.get_context("fork").Process(target=work).start()
        """
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert stored.steps() == [*range(201)]
    assert stored.kinds() == ["started", "joined", "ended"]


def test_a_module_that_the_forkserver_preloads_may_make_the_publisher(run: Run, stored: Stored, tmp_path: Path) -> None:
    (tmp_path / "shared.py").write_text("from hud_publisher import Publisher\nhud = Publisher()\n")
    ended = run(
        """
        def work(first):
            import shared
            log(first, 5, shared.hud)

        if __name__ == "__main__":
            multiprocessing.set_forkserver_preload(["shared"])
            import shared
            log(0, 5, shared.hud)
            settle(shared.hud)
            child = multiprocessing.get_context("forkserver").Process(target=work, args=(5,))
            child.start()
            child.join()
        """,
        PYTHONPATH=os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]),
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert stored.steps() == [*range(10)]
    assert len(stored.sessions()) == 1


def test_runs_that_children_begin_themselves_are_separate_runs(run: Run) -> None:
    ended = run(
        """
        def work(queue):
            queue.put(Publisher(channel="other").run_id)

        if __name__ == "__main__":
            ids = [hud.run_id]
            for method in ("fork", "fork", "spawn", "spawn"):
                context = multiprocessing.get_context(method)
                queue = context.Queue()
                child = context.Process(target=work, args=(queue,))
                child.start()
                ids.append(queue.get())
                child.join()
            print(len(set(ids)))
        """
    )
    assert (ended.stdout, ended.stderr) == ("5\n", "")


# -- fork -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "end",
    [
        "return",
        "sys.exit(0)",
        "del hud; gc.collect(); return",
        "hud.log({'a': 9}, step=9); return",
        "hud.close(); return",
    ],
)
@pytest.mark.parametrize("has_begun", [True, False], ids=["begun", "fresh"])
def test_a_forked_child_that_ends_disturbs_nothing_of_its_parent(
    run: Run, stored: Stored, end: str, has_begun: bool
) -> None:
    ended = run(
        f"""
        def main():
            global hud
            if {has_begun}:
                log(1000, 50)
            for turn in range(5):
                child = os.fork()
                if child == 0:
                    {end}
                log(2000 + 50 * turn, 50)
                os.waitpid(child, 0)
            log(3000, 50)
            print("parent")

        main()
        """
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == "parent\n"
    own = 5 * [9] if "log" in end else []
    assert stored.steps() == [*own, *(range(1000, 1050) if has_begun else ()), *range(2000, 2250), *range(3000, 3050)]
    assert len(stored.sessions()) == 1
    assert stored.kinds()[-1] == "ended"


def test_children_of_children_threads_that_fork_and_threads_that_log_meanwhile_lose_and_double_nothing(
    run: Run, stored: Stored
) -> None:
    ended = run(
        """
        is_over = threading.Event()

        def log_meanwhile(first):
            step = first
            while not is_over.is_set() and step < first + 5000:
                hud.log({"a": step}, step=step)
                step += 1
                time.sleep(0.0005)
            counts.append(step - first)

        def fork_from(first):
            child = os.fork()
            if child == 0:
                log(first, 20)
                grandchild = os.fork()
                if grandchild == 0:
                    log(first + 20, 20)
                    hud.close()
                    os._exit(0)
                os.waitpid(grandchild, 0)
                hud.close()
                os._exit(0)
            os.waitpid(child, 0)

        counts = []
        loggers = [threading.Thread(target=log_meanwhile, args=(100_000 * n,)) for n in (1, 2)]
        forkers = [threading.Thread(target=fork_from, args=(100 * n,)) for n in range(6)]
        for thread in (*loggers, *forkers):
            thread.start()
        for thread in forkers:
            thread.join()
        is_over.set()
        for thread in loggers:
            thread.join()
        hud.close(10)
        print(sum(counts))
        """
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    steps = stored.steps()
    assert steps[:240] == [100 * n + step for n in range(6) for step in range(40)]
    assert len(steps) == len(set(steps)) == 240 + int(ended.stdout)
    assert len(stored.sessions()) == 1


def test_a_fork_in_the_middle_of_closing_and_an_exec_after_a_fork_harm_nothing(run: Run, stored: Stored) -> None:
    ended = run(
        """
        import subprocess
        log(0)
        closing = threading.Thread(target=hud.close)
        closing.start()
        children = []
        for _ in range(5):
            child = os.fork()
            if child == 0:
                os.execv(sys.executable, [sys.executable, "-c", "pass"])
            children.append(child)
        closing.join()
        assert not any(os.waitpid(child, 0)[1] for child in children)
        assert subprocess.run([sys.executable, "-c", "pass"]).returncode == 0
        """
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert stored.steps() == [*range(100)]
    assert stored.kinds() == ["started", "ended"]


def test_a_forked_child_does_not_take_over_a_second_time(run: Run, stored: Stored) -> None:
    ended = run(
        """
        first = Publisher(run_id="one", takeover=True)
        log(0, 1, first)
        settle(first)
        second = Publisher(run_id="two", takeover=True)
        log(1, 1, second)
        settle(second)
        child = os.fork()
        if child == 0:
            first.log({"a": 2}, step=2)
            while first.status == "connecting":
                time.sleep(0.01)
            first.close(0.1)
            os._exit(0)
        os.waitpid(child, 0)
        first.close(0)
        """
    )
    assert ended.returncode == 0
    assert stored.steps() == [0, 1]


def test_sending_imports_no_module(run: Run, stored: Stored) -> None:
    """A module's import lock that the sender thread holds during a fork stays locked in the child."""
    ended = run(
        """
        import numpy as np
        mine = Publisher(frames="always")
        known = set(sys.modules)
        mine.log({"a": 1, "b": np.float32(1), "c": {"d": [1, 2]}}, step=1)
        mine.log_iteration({"a": 1})
        mine.frame(np.zeros((64, 64, 3), np.uint8), step=1)
        mine.vision(np.zeros((64, 64, 3), np.uint8), prompt="p", response="r")
        settle(mine)
        mine.close()
        print(set(sys.modules) - known)
        """
    )
    assert (ended.stdout, ended.stderr) == ("set()\n", "")
    assert stored.steps() == [1]


def test_publishing_takes_no_lock_of_openssl(run: Run, stored: Stored) -> None:
    """If another thread holds such a lock during a fork, the lock stays locked in the child."""
    ended = run(
        """
        mine, called = Publisher(channel="other"), []

        def note(frame, event, function):
            if event == "c_call" and str(getattr(function, "__module__", "")) in ("_hashlib", "_ssl"):
                called.append(function.__name__)

        threading.setprofile(note)
        sys.setprofile(note)
        for publisher in (hud, mine):
            log(0, 3, publisher)
            settle(publisher)
            publisher.close()
        print(called)
        """
    )
    assert (ended.stdout, ended.stderr) == ("[]\n", "")
    assert stored.steps() == [0, 1, 2]


# -- ends of a process ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "end",
    [
        "pass",
        "sys.exit(0)",
        "threading.Thread(target=sys.exit).start()",
        "os.kill(os.getpid(), signal.SIGINT); time.sleep(9)",
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)",
        "raise RuntimeError",
    ],
)
def test_an_end_that_python_sees_loses_nothing_and_ends_the_session(run: Run, stored: Stored, end: str) -> None:
    run(f"log(0, 300)\n{end}")
    assert stored.steps() == [*range(300)]
    assert stored.kinds() == ["started", "ended"]


def test_publishers_of_one_run_in_one_process_end_its_session_together(run: Run, stored: Stored) -> None:
    ended = run(
        """
        log(0)
        settle()
        others = [Publisher(run_id=hud.run_id) for _ in range(5)]
        for number, other in enumerate(others, 1):
            log(1000 * number, 1, other)
            settle(other)
            log(1000 * number + 1, 999, other)
        """
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert stored.kinds() == ["started", *["joined"] * 5, "ended"]
    assert stored.steps() == [*range(100), *range(1000, 6000)]


def test_an_unreferenced_publisher_sends_its_queued_entries_before_the_program_ends(run: Run, stored: Stored) -> None:
    ended = run(
        """
        def main():
            local = Publisher()
            log(0, 300, local)

        main()
        """
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert stored.steps() == [*range(300)]
    assert stored.kinds() == ["started", "ended"]


def test_threads_and_exit_functions_may_log_until_the_end(run: Run, stored: Stored) -> None:
    ended = run(
        """
        def log_for_ever():
            step = 1000
            while True:
                hud.log({"a": step}, step=step)
                step += 1
                time.sleep(0.001)

        atexit.register(log, 100)
        threading.Thread(target=log_for_ever, daemon=True).start()
        threading.Timer(0.3, log, [0]).start()
        """
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    steps = stored.steps()
    assert steps[:200] == [*range(200)]
    assert steps[200:] == [*range(1000, 1000 + len(steps) - 200)]
    assert stored.kinds() == ["started", "ended"]


def test_a_first_entry_in_an_exit_function_lands_or_is_named_in_the_log(run: Run, stored: Stored) -> None:
    """Python 3.12 starts no thread during exit; older versions do."""
    ended = run("atexit.register(log, 0, 3)")
    assert ended.returncode == 0
    assert stored.steps() == [0, 1, 2] or "could not start publishing" in ended.stderr


@pytest.mark.parametrize("end", ["os._exit(0)", "os.kill(os.getpid(), signal.SIGTERM)", "os.kill(os.getpid(), 9)"])
def test_after_an_end_that_python_does_not_see_sent_entries_stay_and_the_lease_ends_the_session(
    run: Run, stored: Stored, end: str
) -> None:
    run(f"log(0)\nsettle()\nlog(100)\n{end}", HUD_SESSION_TTL="1")
    steps = stored.steps()
    assert steps == [*range(len(steps))]
    assert len(steps) >= 100
    wait_until(lambda: not stored.is_held(), "the lease to end")


def test_closing_before_an_end_that_python_does_not_see_loses_nothing(run: Run, stored: Stored) -> None:
    run("log(0, 300)\nhud.close()\nos._exit(0)")
    assert stored.steps() == [*range(300)]
    assert stored.kinds() == ["started", "ended"]


def test_a_signal_handler_may_log_and_close(start: Callable[..., subprocess.Popen[str]], stored: Stored) -> None:
    program = start(
        """
        def end(*_):
            log(10**9, 10)
            hud.close()
            os._exit(0)

        signal.signal(signal.SIGUSR1, end)
        print("ready", flush=True)
        step = 0
        while True:
            hud.log({"a": step}, step=step)
            step += 1
            time.sleep(0.0002)  # a queue that closing can send in its two seconds on a busy machine
        """
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    time.sleep(0.2)
    program.send_signal(signal.SIGUSR1)
    assert program.wait(20) == 0
    program.communicate()
    assert stored.steps()[-10:] == [*range(10**9, 10**9 + 10)]
    assert stored.kinds() == ["started", "ended"]


def test_entries_not_sent_before_the_end_are_named_in_the_log(run: Run, redis_server: Server) -> None:
    redis_server.stop()
    try:
        ended = run("log(0, 500)")
        forked = run("if os.fork() == 0: log(0, 500)\nelse: os.wait()")
    finally:
        redis_server.cont()
    for program in (ended, forked):
        assert program.returncode == 0
        assert "HUD: 500 entries were " in program.stderr  # not sent, or dropped where the thread still saw the end


# -- copies, notebooks, embedded interpreters -------------------------------------------------------------------------


def test_copies_publish_nothing_and_take_no_thread_and_no_connection(run: Run, stored: Stored) -> None:
    ended = run(
        """
        log(0, 3)
        settle()
        def is_socket(number):
            try:
                return os.readlink(f"/proc/self/fd/{number}").startswith("socket:")
            except OSError:  # closed meanwhile: the sender may be asking git for the commit
                return False

        def used():
            return threading.active_count(), sum(map(is_socket, os.listdir("/proc/self/fd")))

        before = used()
        copies = [copy.copy(hud), copy.deepcopy(hud), copy.deepcopy({"hud": hud})["hud"], copy.copy(copy.deepcopy(hud))]
        copies += [pickle.loads(pickle.dumps(copies[0]))]
        for n, silent in enumerate(copies):
            log(100 * (n + 1), 3, silent)
            assert not silent.wants_frame() and not silent.frame(b"") and silent.status == "disabled"
            silent.vision(b"")
            silent.close()
        assert before == used()
        del copies, silent
        gc.collect()
        log(3, 3)
        """
    )
    assert ended.returncode == 0
    (line,) = ended.stderr.splitlines()
    assert "a copy of a publisher" in line
    assert stored.steps() == [*range(6)]
    assert stored.kinds() == ["started", "ended"]


def test_a_cell_that_runs_again_shows_the_new_run_at_once(run: Run, stored: Stored) -> None:
    ended = run(
        """
        hud.close()
        cell = "mine = Publisher(); log(first, 200, mine)"
        began = time.monotonic()
        for first in (0, 200, 400):
            exec(cell)
        settle(mine)
        print(time.monotonic() - began < 3, mine.stats.refusals)
        """
    )
    assert (ended.stdout, ended.stderr) == ("True 0\n", "")
    assert stored.steps() == [*range(600)]
    assert stored.kinds() == 3 * ["started", "ended"]


@pytest.mark.parametrize("argv", ["del sys.argv", "sys.argv = []", "sys.argv = ['']", "sys.argv = [None]"])
def test_an_embedded_interpreter_without_arguments_publishes(run: Run, stored: Stored, argv: str) -> None:
    ended = run(
        f"""
        {argv}
        mine = Publisher()
        log(0, 3, mine)
        settle(mine)
        print(mine.name)
        """
    )
    assert ended.stderr == ""
    assert ended.stdout.startswith("python@")
    assert stored.steps() == [0, 1, 2]
