"""Every detector of the monitor on short made-up runs: its reports, and the cases it must not report."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest

from hud_publisher.protocol.values import NOT_FINITE, NotFinite
from hud_web.monitor.annotations import Annotation, decode
from hud_web.monitor.detectors import HEALTHY, MAX_PATHS, RESTARTS, Observation, SessionState
from hud_web.monitor.judge import Judge

START_MS = 1_760_000_000_000
S = 1_000


class Run:
    """Feeds a judge; after each entry another judge continues with the stored memory, as after a replica's death."""

    def __init__(self) -> None:
        self.judge = Judge()
        self.now_ms = START_MS
        self.count = 0
        self.found: list[Annotation] = []

    def log(
        self, step: int | None = None, broken: dict[str, NotFinite] | None = None, after_ms: int = S, **data: Any
    ) -> None:
        self.now_ms += after_ms
        self.count += 1
        entry = Observation(f"{self.now_ms}-{self.count}", self.now_ms, step, "w/metrics", data, broken or {})
        self.found += self.judge.see(entry)
        self.hand_over()

    def wait(self, ms: int) -> None:
        for _ in range(ms // S):
            self.now_ms += S
            self.found += self.judge.pass_time(self.now_ms)
            self.hand_over()

    def hand_over(self) -> None:
        self.judge = Judge(json.loads(json.dumps(self.judge.memory())))

    def kinds(self) -> list[str]:
        return [annotation.kind for annotation in self.found if not annotation.kind.startswith("symptom")]


@pytest.fixture
def run() -> Run:
    return Run()


def test_a_field_that_becomes_nan_is_reported_once_with_the_true_time_and_step(run: Run) -> None:
    run.log(step=1, policy_loss=0.5)
    run.log(step=2, broken={"policy_loss": "NaN"})
    since = run.now_ms
    for step in range(3, 50):
        run.log(step=step, broken={"policy_loss": "NaN"})
    [found] = run.found
    assert (found.kind, found.time_ms, found.step, found.fields) == ("non_finite", since, 2, ("policy_loss",))
    run.log(step=50, policy_loss=0.4)
    assert run.kinds() == ["non_finite", "finite_again"]
    assert run.found[-1].text == "policy_loss is a number again after 48 s"


def test_nan_and_both_infinities_are_distinguished_with_their_first_time(run: Run) -> None:
    for step, value in enumerate(NOT_FINITE * 2):
        run.log(step=step, broken={"loss": value})
        assert run.judge.not_finite == {"loss": {"value": value, "time_ms": run.now_ms, "step": step}}
        run.log(step=step, broken={"loss": value})
    assert [found.value for found in run.found] == [*NOT_FINITE * 2]
    assert [found.text for found in run.found[:3]] == ["loss is NaN", "loss is Infinity", "loss is -Infinity"]
    run.log(loss=1)
    assert run.judge.not_finite == {}


def test_a_hundred_fields_that_break_together_are_one_annotation_with_an_exact_count(run: Run) -> None:
    layers = {f"layer{n}": 0.5 for n in range(100)}
    run.log(step=1, other=1.0, **layers)
    run.log(step=2, broken=dict.fromkeys(layers, "NaN"))
    run.log(step=3, broken=dict.fromkeys(layers, "NaN") | {"other": "NaN"})
    run.log(step=4, **layers)
    run.log(step=5, other=1.0)
    assert [found.text for found in run.found] == [
        "NaN in 100 fields: layer0, layer1, layer2 … and 97 more",
        "other is NaN",
        "100 fields are numbers again after 2.0 s: layer0, layer1, layer2 … and 97 more",
        "other is a number again after 2.0 s",
    ]
    assert [(found.kind, found.step, len(found.fields)) for found in run.found] == [
        ("non_finite", 2, 100), ("non_finite", 3, 1), ("finite_again", 4, 100), ("finite_again", 5, 1),
    ]  # fmt: skip
    assert run.found[0].fields == tuple(layers)
    assert run.judge.not_finite == {}


def test_fields_with_different_values_or_times_are_apart(run: Run) -> None:
    run.log(broken={"a": "NaN", "b": "Infinity", "c": "NaN"})
    run.log(broken={"d": "NaN"})
    run.log(a=1, b=1, c=1, d=1)
    assert [(found.text, found.value) for found in run.found] == [
        ("NaN in 2 fields: a, c", "NaN"),
        ("b is Infinity", "Infinity"),
        ("d is NaN", "NaN"),
        ("3 fields are numbers again after 2.0 s: a, c, b", None),
        ("d is a number again after 1.0 s", None),
    ]


def test_fields_beyond_those_that_are_remembered_are_not_counted(run: Run) -> None:
    run.log(broken={f"x{n}": "NaN" for n in range(MAX_PATHS - 10)})
    run.log(broken={f"y{n}": "NaN" for n in range(100)})
    assert [len(found.fields) for found in run.found] == [MAX_PATHS - 10, 10]
    assert run.found[-1].text == "NaN in 10 fields: y0, y1, y2 … and 7 more"


def test_the_return_is_reported_like_every_other_field(run: Run) -> None:
    run.log(broken={"episode_return_mean": "NaN"})
    assert run.found[0].fields == ("episode_return_mean",)


def test_each_record_is_reported_and_the_first_episode_is_none(run: Run) -> None:
    for value in (3, 8, 5, 8, 9):
        run.log(episode_return=value)
    assert [found.text for found in run.found] == ["Best episode: return 8", "Best episode: return 9"]


def test_a_record_of_another_env_counts_too(run: Run) -> None:
    run.log(episode_return=3)
    run.log(episode_return_max=10)
    run.log(episode_return=7)
    assert [found.text for found in run.found] == ["Best episode: return 10"]


def test_a_return_that_falls_back_to_its_beginning_has_collapsed(run: Run) -> None:
    for step in range(40):
        run.log(step=step, episode_return_mean=min(17, step))
    for step in range(40, 100):
        run.log(step=step, episode_return_mean=3.1)
    assert run.kinds() == ["collapse"]
    assert 40 < (run.found[0].step or 0) < 60
    for step in range(100, 200):
        run.log(step=step, episode_return_mean=17)
    assert run.kinds() == ["collapse", "recovered"]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("mean", "spread"), [(0, 0.05), (100, 10), (-20, 3)])
def test_noise_is_no_collapse(seed: int, mean: float, spread: float) -> None:
    luck, judge = random.Random(seed), Judge()
    for number in range(2_000):
        data = {"episode_return_mean": mean + luck.gauss(0, spread)}
        assert judge.see(Observation("0-0", START_MS + number, number, "w", data)) == []


@pytest.mark.parametrize("seed", range(20))
def test_a_noisy_run_that_learns_is_no_collapse(seed: int, run: Run) -> None:
    luck = random.Random(seed)
    for step in range(1_000):
        run.log(step=step, episode_return_mean=min(400, step) + luck.gauss(0, 60))
    assert run.kinds() == []


def test_an_unfinished_episode_says_nothing_about_a_collapse(run: Run) -> None:
    for step in range(400):
        run.log(step=step, episode_reward=step % 100)
    assert run.kinds() == []


def test_a_flag_that_turns_true_is_a_milestone(run: Run) -> None:
    run.log(**{"milestones/sword_found": False, "done": False})
    run.log(**{"milestones/sword_found": True, "done": True})
    run.log(**{"milestones/sword_found": True})
    assert [found.text for found in run.found] == ["Milestone: sword found"]


def test_steps_that_begin_again_are_reported_and_small_jitter_is_not(run: Run) -> None:
    for step in (0, 500, 498, 1_000, 0, 500):
        run.log(step=step)
    assert [found.text for found in run.found] == ["Steps began again at 0, after 1,000"]


def test_two_writers_have_separate_steps() -> None:
    judge = Judge()
    for number in range(20):
        for writer, step in (("a", number), ("b", 10_000 + number)):
            assert judge.see(Observation("0-0", START_MS, step, writer, {})) == []


def test_lost_env_runners_are_reported(run: Run) -> None:
    for healthy in (4, 4, 3, 3, 4):
        run.log(**{"fault_tolerance/num_healthy_workers": healthy})
    assert run.kinds() == ["env_runner_lost", "env_runner_back"]
    assert run.found[0].text == "3 env runners are healthy, 4 were"


def test_an_env_runner_that_was_restarted_within_one_iteration_is_reported(run: Run) -> None:
    for healthy, restarts in ((2, 3), (2, 3), (1, 3), (2, 4), (2, 5)):
        run.log(**{"fault_tolerance": {}, HEALTHY: healthy, RESTARTS: restarts})
    assert run.kinds() == ["env_runner_lost", "env_runner_back"] * 2


def test_a_fast_run_that_stops_has_stalled_and_resumes(run: Run) -> None:
    for step in range(100):
        run.log(step=step, after_ms=50, x=step)
    run.wait(9 * S)
    assert run.kinds() == []
    run.wait(60 * S)
    assert run.kinds() == ["stall"]
    run.log(step=100)
    assert run.kinds() == ["stall", "resumed"]


def test_one_iteration_in_three_minutes_is_no_stall(run: Run) -> None:
    run.log(training_iteration=0)
    for iteration in range(1, 10):
        run.wait(179 * S)
        run.log(training_iteration=iteration)
    run.wait(300 * S)
    assert run.kinds() == []
    run.wait(300 * S)
    assert run.kinds() == ["stall"]
    assert run.found[0].text == "No data for 9 min (longest gap before: 3 min)"


def test_a_learner_that_takes_much_longer_than_usual_hangs(run: Run) -> None:
    for _ in range(5):
        run.log(phase="sampling")
        for _ in range(20):
            run.log(after_ms=100, x=1)
        run.log(phase="learning")
        run.wait(5 * S)
    run.log(phase="sampling")
    run.log(phase="learning")
    run.wait(29 * S)
    assert run.kinds() == []
    run.wait(240 * S)
    assert run.kinds() == ["hung_phase"]
    assert run.found[0].text == "Learning for 31 s (usually 6.0 s)"
    assert run.judge.rhythm()["phase_usual_ms"] == 6_000
    run.log(phase="sampling")
    assert run.kinds() == ["hung_phase", "phase_ended"]


@pytest.mark.parametrize("phase", ["learning", "training"])
def test_a_phase_without_an_end_hangs(phase: str, run: Run) -> None:
    run.log(phase=phase)
    run.wait(60 * S)
    assert run.kinds() == ["hung_phase"]


def test_a_phase_in_which_entries_go_on_is_judged_by_its_gaps(run: Run) -> None:
    for n in range(20):
        run.log(after_ms=20 * S, phase="training", n=n)
    run.wait(55 * S)
    assert run.kinds() == []
    run.wait(10 * S)
    assert run.kinds() == ["stall"]


def test_a_learner_that_always_takes_a_minute_raises_one_alarm(run: Run) -> None:
    for _ in range(20):
        run.log(phase="sampling")
        run.log(phase="learning")
        run.wait(60 * S)
    run.log(phase="sampling")
    assert run.kinds() == ["hung_phase", "phase_ended"]


def test_evaluations_that_take_different_times_raise_no_alarm(run: Run) -> None:
    for seconds in (20, 30, 40, 25, 60, 20, 90):
        for phase, lasts in (("sampling", 5), ("learning", 6), ("evaluating", seconds)):
            run.log(phase=phase)
            run.wait(lasts * S)
    assert run.kinds() == []


def test_pauses_for_checkpoints_raise_one_alarm(run: Run) -> None:
    for step in range(600):
        run.log(step=step, x=1)
        run.wait(15 * S if step % 60 == 59 else 0)
    assert run.kinds() == ["stall", "resumed"]


def test_a_run_resumed_from_a_checkpoint_raises_no_alarm(run: Run) -> None:
    luck = random.Random(7)
    for iteration in range(500, 560):
        run.log(
            step=iteration * 4_000, training_iteration=iteration, phase="learning", after_ms=180 * S,
            env_runners={}, episode_return_mean=200 + luck.gauss(0, 20),
        )  # fmt: skip
    assert run.kinds() == []


def test_frames_alone_keep_a_run_from_stalling_until_they_end(run: Run) -> None:
    state = SessionState(START_MS, last_batch_ms=START_MS)
    for second in range(0, 1_200, 2):
        now = START_MS + second * S
        batch = now if second < 600 else START_MS + 600 * S
        run.found += run.judge.see_session(replace(state, last_batch_ms=batch), now)
        run.hand_over()
    assert run.kinds() == ["stall"]
    assert run.found[0].time_ms - START_MS in range(608 * S, 614 * S)


def test_a_hung_phase_that_goes_on_has_ended_as_a_hang(run: Run) -> None:
    run.log(phase="training")
    run.wait(60 * S)
    run.log(phase="training")
    assert run.kinds() == ["hung_phase", "phase_ended"]
    assert run.found[-1].text == "The phase 'training' continues after 61 s"


def test_the_rhythm_tells_when_the_newest_entry_came_and_the_phase_began(run: Run) -> None:
    run.log(phase="learning")
    since_ms = run.now_ms
    run.log(n=1)
    rhythm = run.judge.rhythm()
    assert (rhythm["phase_since_ms"], rhythm["last_entry_ms"]) == (since_ms, run.now_ms)


def test_a_vision_llm_that_fails_thrice_is_reported_and_so_is_its_next_answer(run: Run) -> None:
    found = []
    for error in ("down", "down", None, "down", "down", "down", "down", None):
        found += run.judge.see_vision("1-1", START_MS, error)
        run.hand_over()
    assert [annotation.kind for annotation in found] == ["vision_failing", "vision_recovered"]


@pytest.mark.parametrize(("gap_s", "kinds"), [(5, []), (25, ["vision_failing"])])
def test_two_failures_of_a_vision_llm_that_is_asked_rarely_are_enough(run: Run, gap_s: int, kinds: list[str]) -> None:
    found = [
        annotation
        for number in range(2)
        for annotation in run.judge.see_vision("1-1", START_MS + number * gap_s * 1000, "refused")
    ]
    assert [annotation.kind for annotation in found] == kinds


def test_an_annotation_carries_the_step_and_the_iteration(run: Run) -> None:
    run.log(step=512, training_iteration=4)
    run.log(broken={"loss": "NaN"})
    assert (run.found[0].step, run.found[0].iteration) == (512, 4)


def test_an_annotation_survives_its_stream_entry() -> None:
    for one in (
        Annotation("stall", START_MS, "No data for 9 s"),
        Annotation("non_finite", START_MS, "x \ud800", 5, 2, "17-1", ("a/b", "ü"), "-Infinity"),
    ):
        parts = [part.encode() for part in one.encode()]
        found = decode(dict(zip(parts[::2], parts[1::2], strict=True)))
        assert (found.kind, found.fields, found.value) == (one.kind, one.fields, one.value)
        assert (found.step, found.iteration, found.entry_id) == (one.step, one.iteration, one.entry_id)
    with pytest.raises(ValueError, match="expected the kind"):
        decode({b"kind": b"party"})


def test_the_memory_is_bounded_for_names_that_change_with_every_step() -> None:
    judge = Judge()
    for number in range(3_000):
        judge.see(
            Observation(
                "0-0", START_MS, 1, f"w{number}", {f"m/{number}": False, "phase": f"p{number}"}, {f"n{number}": "NaN"}
            )
        )
    assert len(json.dumps(judge.memory())) < 60_000


def test_a_memory_of_another_version_is_left_out() -> None:
    judge = Judge({"stall": {"last_ms": 5, "no such": 1}, "steps": "text", "unknown": {}})
    assert judge.memory()["stall"]["last_ms"] == 5
