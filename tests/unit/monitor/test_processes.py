"""Deaths, losses and returns of processes, on short made-up runs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hud_web.monitor.annotations import Annotation
from hud_web.monitor.detectors import Observation, SessionState
from hud_web.monitor.judge import Judge
from hud_web.monitor.processes import MAX_PROCESSES

START_MS = 1_760_000_000_000  # 08:53:20 UTC
S = 1_000
GB = 1e9
WRITERS = {"driver": "driver-host-10-aaaaaa", "env runner 1": "w1-host-11-bbbbbb", "env runner 2": "w2-host-12-cccccc"}


class Run:
    """Feeds a judge; after each entry another judge continues with the stored memory, as after a replica's death."""

    def __init__(self) -> None:
        self.judge = Judge()
        self.now_ms = START_MS
        self.count = 0
        self.found: list[Annotation] = []
        self.writers = dict(WRITERS)

    def entry(self, stream: str, writer: str, data: dict[str, Any]) -> None:
        self.count += 1
        entry = Observation(f"{self.now_ms}-{self.count}", self.now_ms, None, f"{writer}/{stream}", data)
        self.found += self.judge.see(entry) if stream == "metrics" else self.judge.see_process(entry)
        self.judge = Judge(json.loads(json.dumps(self.judge.memory())))

    def measure(self, *names: str, memory: float = 3.1 * GB) -> None:
        for name in names:
            data: dict[str, Any] = {f"machine/{name}/memory_bytes": memory, f"machine/{name}/node": "host"}
            if name == "driver":
                data["machine/node host/memory_total_bytes"] = 8 * GB
            self.entry("machine", self.writers.get(name, name), data)

    def go_on(self, seconds: int, *names: str, every: int = 5) -> None:
        for second in range(seconds):
            self.now_ms += S
            if second % every == 0:
                self.measure(*names)
            self.entry("metrics", self.writers.get(names[0], names[0]), {"loss": 1.0})
            self.found += self.judge.pass_time(self.now_ms)

    def report(self, writer: str, **data: Any) -> None:
        self.entry("reports", self.writers.get(writer, writer), data)

    def die(self, name: str, **data: Any) -> None:
        self.report(name, kind="death", process=name, **data)

    def look(self, *, has_lease: bool, ended_ms: int | None = None) -> None:
        state = SessionState(START_MS, ended_ms, has_lease=has_lease, last_batch_ms=self.now_ms)
        self.found += self.judge.see_session(state, self.now_ms + 40 * S)

    def of(self, *kinds: str) -> list[str]:
        return [one.text for one in self.found if one.kind in kinds]

    def all(self) -> list[str]:
        return self.of("process_died", "process_lost", "process_back", "restarted", "symptom")


@pytest.fixture
def run() -> Run:
    run = Run()
    run.measure(*WRITERS)
    return run


@pytest.mark.parametrize(
    ("report", "text"),
    [
        (
            {"exception": "torch.OutOfMemoryError", "message": "CUDA out of memory. Tried to allocate 2.00 GiB"},
            "Died 08:53:20: CUDA out of memory (env runner 2)",
        ),
        ({"exception": "ValueError", "message": "bad shape\ncaused by KeyError: 3"},
         "Died 08:53:20: ValueError: bad shape (env runner 2)"),
        ({"exception": "my.env.EmulatorError"}, "Died 08:53:20: EmulatorError (env runner 2)"),
        ({"exception": "SystemExit", "exit_code": 3}, "Died 08:53:20: exit code 3 (env runner 2)"),
        ({"exit_code": 137}, "Died 08:53:20: exit code 137 (killed by SIGKILL) (env runner 2)"),
        ({"signal": "SIGKILL", "exit_code": 137}, "Died 08:53:20: killed by SIGKILL (env runner 2)"),
        ({"signal": "SIGTERM"}, "Stopped 08:53:20 by SIGTERM (env runner 2)"),
        ({"signal": "SIGINT", "exception": "KeyboardInterrupt"}, "Interrupted 08:53:20 by Ctrl+C (env runner 2)"),
        ({}, "Died 08:53:20: no cause known (env runner 2)"),
    ],
)  # fmt: skip
def test_a_death_is_told_in_one_line(run: Run, report: dict[str, Any], text: str) -> None:
    run.die("env runner 2", **report)
    assert run.all() == [text]
    assert run.found[-1].fields == ("machine/env runner 2/memory_bytes",)
    assert run.found[-1].entry_id


def test_a_process_without_a_role_is_not_named() -> None:
    run = Run()
    run.entry("reports", "host-99-dddddd", {"kind": "death", "process": "host-99-dddddd", "exception": "KeyError"})
    assert run.all() == ["Died 08:53:20: KeyError"]
    run.look(has_lease=False)
    assert run.of("process_lost") == []


def test_the_vague_error_that_the_driver_sees_afterwards_adds_nothing(run: Run) -> None:
    run.die("env runner 2", exception="ValueError", message="the emulator stopped")
    run.now_ms += 61 * S
    run.report("driver", kind="death", process="env runner 2", exception="ray.exceptions.ActorDiedError", message="x")
    assert len(run.of("process_died")) == 1


def test_a_process_that_dies_is_measured_no_more_and_its_restart_ends_the_problem(run: Run) -> None:
    run.die("env runner 2", exception="ValueError", message="the emulator stopped")
    run.measure("env runner 2")  # its interpreter is still there
    run.go_on(60, "driver", "env runner 1")
    assert run.of("process_lost", "process_back") == []
    assert list(run.judge.problems.of("process_died"))
    run.report("driver", kind="restart", process="env runner 2", exception="SystemExit", exit_code=1)
    run.writers["env runner 2"] = "w2-host-13-eeeeee"
    run.measure("env runner 2")
    assert run.of("restarted", "process_back") == [
        "Env runner 2 was restarted: ValueError: the emulator stopped",
    ]
    assert all(one["ended_ms"] for one in run.judge.problems.of("process_died"))


def test_an_environment_that_is_made_again_is_no_restart_of_its_process(run: Run) -> None:
    run.report(
        "env runner 2", kind="restart", process="env runner 2", part="environment", exception="OSError", message="x"
    )
    assert run.all() == ["The environment of env runner 2 was made again: OSError: x"]


def test_a_process_that_falls_silent_while_others_go_on_is_lost(run: Run) -> None:
    run.go_on(15, *WRITERS)
    silent = run.now_ms
    run.go_on(50, "driver", "env runner 1")
    [lost] = [one for one in run.found if one.kind == "process_lost"]
    assert lost.text == (
        "Env runner 2 was last heard at 08:53:31 with 3.1 GB of 8.0 GB; it could not report: killed, or out of memory?"
    )
    assert lost.time_ms - silent <= 20 * S
    run.go_on(10, *WRITERS)
    assert run.of("process_back") == ["Env runner 2 is back after 55 s"]


def test_a_lost_process_that_returns_as_another_process_is_back(run: Run) -> None:
    run.go_on(60, "driver", "env runner 1")
    run.writers["env runner 2"] = "w2-host-14-ffffff"
    run.measure("env runner 2")
    assert len(run.of("process_lost", "process_back")) == 2


def test_a_process_that_was_replaced_at_once_is_restarted(run: Run) -> None:
    run.go_on(10, *WRITERS)
    run.writers["env runner 2"] = "w2-host-15-aaaaab"
    run.measure("env runner 2")
    assert run.all() == ["Env runner 2 was started again as another process"]


def test_silence_of_all_processes_accuses_none(run: Run) -> None:
    run.go_on(20, *WRITERS)
    for _ in range(300):
        run.now_ms += S
        run.found += run.judge.pass_time(run.now_ms)
    run.go_on(30, *WRITERS)
    assert run.all() == []


def test_metrics_are_a_sign_of_life(run: Run) -> None:
    run.go_on(10, *WRITERS)
    for second in range(60):
        run.now_ms += S
        if second % 5 == 0:
            run.measure("driver", "env runner 1")
        run.entry("metrics", run.writers["env runner 2"], {"loss": 1.0})
    assert run.all() == []


def test_a_process_that_closed_is_not_lost(run: Run) -> None:
    run.report("env runner 2", kind="end", process="env runner 2")
    run.go_on(60, "driver", "env runner 1")
    assert run.all() == []


@pytest.mark.parametrize(("seconds", "count"), [(20, 0), (90, 1)])
def test_a_worker_of_a_pool_that_ends_soon_is_not_lost(run: Run, seconds: int, count: int) -> None:
    run.go_on(seconds, "driver", "host-99-dddddd")
    run.go_on(60, "driver")
    assert len([text for text in run.of("process_lost") if text.startswith("The process was")]) == count


def test_slow_samples_are_awaited(run: Run) -> None:
    for _ in range(5):
        run.now_ms += 20 * S
        run.measure("driver", "env runner 1")
        run.now_ms += S
        run.measure("env runner 2")
    run.go_on(40, "driver", "env runner 1")
    assert run.all() == []


def test_a_lease_that_lapses_names_the_driver(run: Run) -> None:
    run.go_on(20, *WRITERS)
    run.look(has_lease=False)
    assert run.of("process_lost") == [
        "Driver was last heard at 08:53:40 with 3.1 GB of 8.0 GB; it could not report: killed, or out of memory?"
    ]
    run.look(has_lease=False)
    assert len(run.of("process_lost")) == 1


def test_a_lease_that_lapses_without_any_measurement_names_the_time() -> None:
    run = Run()
    run.look(has_lease=False)
    assert run.of("process_lost") == [
        "The process was last heard at 08:53:20; it could not report: killed, or out of memory?"
    ]


def test_a_lease_that_lapses_after_a_death_adds_nothing(run: Run) -> None:
    run.die("driver", exception="ValueError", message="x")
    run.look(has_lease=False)
    assert run.of("process_lost") == []


def test_an_exception_of_a_thread_is_a_symptom(run: Run) -> None:
    run.die("driver", exception="OSError", message="disk", thread="loader")
    assert [(one.kind, one.text, one.pattern) for one in run.found] == [
        ("symptom", "The thread loader died 08:53:20: OSError: disk", "thread_died")
    ]


def test_an_alert_of_the_run_is_an_annotation(run: Run) -> None:
    run.report("driver", kind="alert", title="Level 3", text="reached")
    run.report("driver", kind="alert", text="only text")
    assert run.of("alert") == ["Level 3: reached", "only text"]


def test_reports_and_measurements_are_no_sign_that_training_goes_on() -> None:
    run = Run()
    for _ in range(10):
        run.now_ms += S
        run.entry("metrics", WRITERS["driver"], {"a": 1})
    for _ in range(60):
        run.now_ms += S
        run.measure("driver")
        run.report("driver", kind="log", text="x")
        run.found += run.judge.pass_time(run.now_ms)
    assert [one.kind for one in run.found if one.kind == "stall"] == ["stall"]


def test_the_memory_is_bounded(run: Run) -> None:
    for number in range(1000):
        run.entry("machine", f"host-{number}-aaaaaa", {
            f"machine/host-{number}-aaaaaa/memory_bytes": 1.0, f"machine/node host{number}/memory_total_bytes": 8.0,
        })  # fmt: skip
        run.entry("reports", f"x-{number}-aaaaaa", {"kind": "death", "process": f"x-{number}"})
    memory = run.judge.memory()["processes"]
    assert len(memory["known"]) == MAX_PROCESSES
    assert len(json.dumps(memory)) < 40_000


def test_hostile_entries_are_read(run: Run) -> None:
    for data in ({"kind": 3}, {"kind": "death", "process": 7, "exception": 1, "message": [], "exit_code": "x"},
                 {"kind": "restart", "process": None}, {"machine/a": 1, "machine/b/memory_bytes": "x"}):  # fmt: skip
        run.entry("reports", "w", data)
        run.entry("machine", "w", data)
