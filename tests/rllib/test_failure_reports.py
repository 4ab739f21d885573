"""The reports that are made of ray's errors; the texts are those of ray 2.60."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from rllib_integration.failures import of_lost_runner, of_restart, of_step, watch_group, watch_runner, watch_step

KILLED = (
    "The actor died unexpectedly before finishing this task.\n\tclass_name: SingleAgentEnvRunner\n\tactor_id: 1c08\n"
    "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker "
    "unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) the process was "
    "killed by the OOM killer due to high memory usage, (2) ray stop --force was called"
)
RESET = (
    "The actor 1c08 is unavailable: The actor is temporarily unavailable: RpcError: recvmsg:Connection reset by peer"
)
EXITED = "The actor is temporarily unavailable: UnexpectedSystemExit: Worker exits with an exit code 1.. The task may"
MEMORY = "Task was killed due to the node running low on memory.\nMemory on the node was 7.6GB / 8.0GB"
NODE = "The actor died because its node has died. Node Id: 5f. the actor's node was terminated expectedly: preempted"
LOST = "its process was killed or crashed (SIGKILL, or out of memory)"


class ActorDiedError(Exception):
    pass


class ActorUnavailableError(Exception):
    pass


class OutOfMemoryError(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "exception", "message", "code"),
    [
        (ActorDiedError(KILLED), "", LOST, None),
        (ActorUnavailableError(RESET), "", LOST, None),
        (ActorUnavailableError(EXITED), "SystemExit", "", 1),
        (OutOfMemoryError(MEMORY), "", "ray ended it because the node was low on memory", None),
        (ActorDiedError(NODE), "", "its node was lost", None),
        (ValueError("x"), "ValueError", "x", None),
    ],
)
def test_the_cause_is_told_in_a_few_words(error: Exception, exception: str, message: str, code: int | None) -> None:
    report = of_lost_runner(3, error)
    assert report["process"] == "env runner 3"
    assert (report["exception"], report["message"], report.get("exit_code")) == (exception, message, code)
    restart = of_restart(3, report)
    assert (restart["kind"], restart["message"]) == ("restart", message)
    assert of_restart(3, None) == {"kind": "restart", "process": "env runner 3"}


class RayTaskError(Exception):
    def __init__(self, place: str, pid: int) -> None:
        super().__init__(f"ray::{place}() (pid={pid})")
        self.pid, self.cause = pid, ValueError("loss is NaN")
        self.traceback_str = f'ray::{place}\n  File "/x/learn.py", line 3, in update\n    raise ValueError\n'


def test_an_error_of_a_learners_process_is_its_death() -> None:
    report = of_step(RayTaskError("PPOTorchLearner.apply", 77), {"learner 1": 77})
    assert report is not None
    assert (report["process"], report["exception"], report["message"]) == ("learner 1", "ValueError", "loss is NaN")
    assert report["traceback"] == ["/x/learn.py:3 in update: raise ValueError"]
    assert "memory_bytes" not in report
    unknown = of_step(RayTaskError("PPOTorchLearner.apply", 78), {"learner 1": 77})
    assert unknown is not None
    assert unknown["process"] == "learner"
    own = of_step(ZeroDivisionError("division by zero"), {})
    assert own is not None
    assert (own["process"], own["exception"]) == ("driver", "ZeroDivisionError")
    assert of_step(StopIteration(), {}) is None


class Algorithm:
    fails = False

    def step(self) -> str:
        if self.fails:
            raise ValueError("no")
        return "result"


def test_a_step_is_watched_and_the_algorithm_can_still_be_collected() -> None:
    algorithm = Algorithm()
    seen: list[Any] = []
    for name in ("first", "second"):
        watch_step(
            algorithm, lambda error, name=name: seen.append((name, str(error))), lambda name=name: seen.append(name)
        )  # type: ignore[misc]
    assert algorithm.step() == "result"
    assert seen == ["first", "second"]
    algorithm.fails = True
    with pytest.raises(ValueError, match="no"):
        algorithm.step()
    assert seen[2:] == [("first", "no"), ("second", "no")]
    gone = weakref.ref(algorithm)
    del algorithm
    gc.collect()
    assert gone() is None


def test_an_env_runner_reports_and_raises_the_same_exception() -> None:
    def sample() -> None:
        raise KeyError("level")

    seen: list[str] = []
    runner, local = SimpleNamespace(worker_index=2, sample=sample), SimpleNamespace(worker_index=0, sample=sample)
    for _ in range(2):
        watch_runner(runner, lambda error: seen.append(repr(error)))
    watch_runner(local, lambda error: seen.append("the driver does this itself"))
    for one in (runner, local):
        with pytest.raises(KeyError):
            one.sample()
    assert seen == ["KeyError('level')"]


class Answers(list[Any]):
    def __iter__(self) -> Iterator[Any]:
        return super().__iter__()


def test_errors_that_ray_returns_are_noted_and_the_answers_pass() -> None:
    error = ActorDiedError(KILLED)
    answers = Answers([
        SimpleNamespace(ok=True, actor_id=1, get=lambda: 5), SimpleNamespace(ok=False, actor_id=2, get=lambda: error),
    ])  # fmt: skip
    manager = SimpleNamespace(_fetch_result=lambda **_options: ([], answers))
    seen: list[Any] = []
    watch_group(SimpleNamespace(_worker_manager=manager), lambda index, found: seen.append((index, found)))
    assert manager._fetch_result(tags=[]) == ([], answers)
    assert seen == [(2, error)]
    watch_group(SimpleNamespace(), lambda *_: None)  # a later RLlib without this manager
