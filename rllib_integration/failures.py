"""Finds out why parts of an RLlib run ended: env runners, learners, the driver's own `train()`.

An env runner that raises reports it from its process, before RLlib ends that process. The driver notes the errors that
ray returns, which are all that is known of a process that was killed, and those that its training step raises. RLlib
has no callback for any of these, so the functions of this module wrap methods of its objects, one object at a time.
Called by `attachment` in the env runners and by `driver`.
"""

from __future__ import annotations

import functools
import re
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from hud_publisher.deaths import of_exception
from hud_publisher.failure import describe, remote_traceback
from hud_publisher.protocol.internals import report_missing
from rllib_integration.guard import quiet

_WATCHED = "hud_watched"
#: Fields of a death that its restart repeats.
_CAUSE = ("exception", "message", "exit_code")
#: Reports of a failure that were not reported before: (index of the env runner, error).
Note = Callable[[int, BaseException], None]


def watch_runner(env_runner: Any, report: Callable[[BaseException], None]) -> None:
    """Let a remote env runner report an exception that its sampling raises; RLlib ends its process afterwards."""
    if _WATCHED in vars(env_runner) or not env_runner.worker_index:
        return  # the local env runner is part of the driver
    plain = env_runner.sample

    @functools.wraps(plain)
    def sample(*args: Any, **kwargs: Any) -> Any:
        try:
            return plain(*args, **kwargs)
        except Exception as error:
            quiet.attempt("reporting a death", report, error)
            raise

    env_runner.sample = sample
    setattr(env_runner, _WATCHED, True)


def watch_step(algorithm: Any, fail: Callable[[BaseException], None], succeed: Callable[[], None]) -> None:
    """Call `fail` with an exception that a training step raises, and `succeed` after a step without one."""
    owner, wrapped = weakref.ref(algorithm), vars(algorithm).get("step")  # set by another of our callbacks

    @functools.wraps(type(algorithm).step)
    def step() -> Any:
        stepping = owner()
        try:
            result = wrapped() if wrapped is not None else type(stepping).step(stepping)  # type: ignore[union-attr]
        except BaseException as error:
            quiet.attempt("noting a failure", fail, error)
            raise
        quiet.attempt("noting a success", succeed)
        return result

    algorithm.step = step


def watch_group(group: Any, note: Note) -> None:
    """Call `note` with each error that ray returns in place of an env runner's answer."""
    manager: Any = getattr(group, "_worker_manager", None)
    plain = getattr(manager, "_fetch_result", None)
    if plain is None:
        report_missing("ray", "FaultTolerantActorManager._fetch_result", "restarts are shown without their cause")
        return

    @functools.wraps(plain)
    def fetch(*args: Any, **kwargs: Any) -> Any:
        found = plain(*args, **kwargs)
        quiet.attempt("reading ray's errors", _read, found, note)
        return found

    manager._fetch_result = fetch


def _read(found: Any, note: Note) -> None:
    for answer in found[1]:
        if not answer.ok:
            note(int(answer.actor_id), answer.get())


def of_lost_runner(index: int, error: BaseException) -> dict[str, Any]:
    """Return the report of an env runner that answered with this error of ray."""
    fields = _cause_of(error)
    return {"kind": "death", "process": f"env runner {index}", **fields}


def of_restart(index: int, error_report: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the report of an env runner that RLlib restarted; `error_report` tells why it was lost."""
    cause = {name: value for name, value in (error_report or {}).items() if name in _CAUSE}
    return {"kind": "restart", "process": f"env runner {index}", **cause}


def of_step(error: BaseException, processes: Mapping[str, int]) -> dict[str, Any] | None:
    """Return the report of a training step that raised; an error of a learner's process is the learner's death.

    Args:
        error: the exception.
        processes: name → process id of the run's processes that are known.
    """
    fields = of_exception(error)
    if fields is None:
        return None
    process, pid = "driver", getattr(error, "pid", None)
    if (remote := remote_traceback(error)) is not None:
        pid = pid or _pid_in(remote)
        is_learner = re.search(r"ray::\w*Learner\b|rllib/core/learner/", remote) is not None
        process = next(
            (name for name, known in processes.items() if known == pid), "learner" if is_learner else process
        )
        if process != "driver":
            fields = {name: value for name, value in fields.items() if "memory" not in name}
    elif type(error).__name__ in _LOST:
        fields |= _cause_of(error)
    return {**fields, "process": process}


def _pid_in(text: str) -> int | None:
    found = re.search(r"\(pid=(\d{1,9})", text)
    return int(found[1]) if found else None


#: Errors that tell of the end of another process.
_LOST = ("ActorDiedError", "RayActorError", "ActorUnavailableError", "NodeDiedError", "WorkerCrashedError")


def _cause_of(error: BaseException) -> dict[str, Any]:
    """Return the fields of an error that ray returned; its text about a lost process is long and hides the cause."""
    fields = describe(error)
    text = str(fields["message"])
    if re.search(r"(?i)memory monitor|running low on memory|OutOfMemory", text) or "OutOfMemory" in fields["exception"]:
        return fields | {"exception": "", "message": "ray ended it because the node was low on memory"}
    if (code := re.search(r"exit code (\d{1,3})", text)) is not None:
        return fields | {"exception": "SystemExit", "message": "", "exit_code": int(code[1])}
    if re.search(r"(?i)\bnode\b.{0,80}(?:died|is dead|terminated|preempted)", text):
        return fields | {"exception": "", "message": "its node was lost"}
    if type(error).__name__ in _LOST:  # "connection reset", "end of file", "temporarily unavailable"
        return fields | {"exception": "", "message": "its process was killed or crashed (SIGKILL, or out of memory)"}
    return fields
