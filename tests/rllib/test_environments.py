"""Gymnasium environments and Stable-Baselines3 models are shown, and run exactly as they would without HUD."""

from __future__ import annotations

import copy
import io
import json
import pickle
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium
import numpy as np
import pytest
import stable_baselines3 as sb3
import torch
from PIL import Image

from hud_publisher import ConfigError, Publisher
from hud_publisher.protocol.entries import FrameEntry, MetricsEntry
from tests.fixtures.publishing import MemorySink

LENGTH = 30


class Corridor(gymnasium.Env):  # type: ignore[misc, name-defined]
    """Walk for `length` steps; the reward tells the step."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    observation_space = gymnasium.spaces.Box(0, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(
        self,
        render_mode: str | None = "rgb_array",
        is_broken: bool = False,
        length: int = LENGTH,
        reward: Callable[[int], Any] = float,
        shot: Callable[[Any], Any] = np.asarray,
    ) -> None:
        self.render_mode = render_mode
        self.is_broken = is_broken
        self.length = length
        self.reward = reward
        self.shot = shot
        self.at = 0
        self.renders = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.at = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Any:
        self.at += 1
        info = {"location": f"room {self.at}", "health": {"current": self.at}}
        is_over = self.at == self.length
        return np.full(2, self.np_random.random(), np.float32), self.reward(self.at), is_over, False, info

    def render(self) -> Any:
        self.renders += 1
        if self.is_broken:
            raise RuntimeError("no display")
        return None if self.render_mode is None else self.shot(np.full((24, 32, 3), self.at, np.uint8))


gymnasium.register("Corridor-v0", Corridor)


@pytest.fixture
def sink() -> MemorySink:
    return MemorySink(viewers=1)


@pytest.fixture
def hud(sink: MemorySink) -> Iterator[Publisher]:
    publisher = Publisher(redis_url="redis://nowhere.invalid", frames="always", fps=120)
    publisher._sink_factory = lambda _publisher: sink
    yield publisher
    publisher.close(1)


def wrap(env: Any, hud: Any, **options: Any) -> Any:
    from hud_publisher import HudWrapper

    return HudWrapper(env, hud, **options)


def walk(env: Any, steps: int) -> list[Any]:
    """The results that an agent receives in this number of steps."""
    seen = [env.reset(seed=1)]
    for number in range(steps):
        seen.append(env.step(number % 2))
        if seen[-1][2]:
            seen.append(env.reset())
    return seen


def fields(sink: MemorySink, stream: str = "metrics") -> list[dict[str, Any]]:
    return [dict(entry.data) for entry in sink.landed if isinstance(entry, MetricsEntry) and entry.stream == stream]


def test_a_wrapped_environment_returns_the_same_results(hud: Publisher) -> None:
    plain, wrapped = walk(Corridor(), 100), walk(wrap(Corridor(), hud), 100)
    assert repr(plain) == repr(wrapped)


def test_frames_and_every_episodes_end_are_shown(hud: Publisher, sink: MemorySink) -> None:
    env = wrap(Corridor(), hud, info_keys=("location", "health"))
    walk(env, 2 * LENGTH)
    env.close()
    hud.close()
    assert frames(sink)[0].env == (0, 0)
    ends = [data for data in fields(sink) if "episode_end" in data]
    total = float(sum(range(1, LENGTH + 1)))
    assert [(data["episode"], data["episode_return"], data["episode_length"]) for data in ends] == [
        (1, total, LENGTH), (2, total, LENGTH)
    ]  # fmt: skip
    assert (ends[0]["episode_end"], ends[0]["location"], ends[0]["health"]) == (
        "terminated",
        "room 30",
        {"current": 30},
    )
    assert ends[1]["global_step"] == 2 * LENGTH


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"render_mode": None}, "has no render mode"), ({"is_broken": True}, "render() raised RuntimeError: no display")],
)
def test_an_environment_that_gives_no_picture_runs_on_and_says_why_and_is_asked_seldom(
    hud: Publisher, sink: MemorySink, options: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    inner = Corridor(**options)
    walk(wrap(inner, hud), 200)
    hud.close()
    assert inner.renders == 1
    assert len(fields(sink)) >= 6
    assert [reason in data["no_picture"] for data in fields(sink) if "no_picture" in data] == [True]
    assert [reason in record.getMessage() for record in caplog.records].count(True) == 1


def frames(sink: MemorySink) -> list[FrameEntry]:
    return [entry for entry in sink.landed if isinstance(entry, FrameEntry) and entry.stream == "frames"]


def test_frames_that_the_user_collects_for_a_video_all_reach_the_user(hud: Publisher, sink: MemorySink) -> None:
    env = wrap(gymnasium.make("Corridor-v0", render_mode="rgb_array_list"), hud)
    env.reset(seed=1)
    for _ in range(LENGTH):
        env.step(0)
        time.sleep(0.01)
    collected = env.render()
    hud.close()
    assert [int(frame.max()) for frame in collected] == list(range(LENGTH + 1))
    assert len(frames(sink)) > 5


@pytest.mark.parametrize(
    "shot",
    [
        lambda picture: (picture, np.zeros((24, 32), np.float32)),
        lambda picture: Image.fromarray(picture),
        lambda picture: torch.as_tensor(picture),
        lambda picture: torch.as_tensor(picture / 255.0).permute(2, 0, 1).requires_grad_(),
        lambda picture: {"rgb": picture},
        lambda picture: picture[None],
        lambda picture: [picture],
        lambda picture: picture.astype(object),
    ],
    ids=["picture and depth", "PIL", "tensor", "tensor with gradient", "mapping", "batch of one", "list", "objects"],
)
def test_the_picture_is_shown_in_any_form_that_render_returns(
    hud: Publisher, sink: MemorySink, shot: Callable[[Any], Any]
) -> None:
    wrap(Corridor(shot=lambda _: shot(np.full((24, 32, 3), 201, np.uint8))), hud).reset(seed=1)
    hud.close()
    newest = np.asarray(Image.open(io.BytesIO(frames(sink)[-1].image)).convert("L"))
    assert newest.shape == (24, 32)
    assert newest.mean() == pytest.approx(201, abs=3)


@pytest.mark.parametrize(
    "reward",
    [np.array([0.5, 1.5]), {"speed": 1.0}, None, "high", object(), [1.0], np.array(["a"]), torch.zeros(3)],
    ids=["vector", "mapping", "None", "text", "object", "list", "array of text", "tensor"],
)
def test_a_reward_that_is_no_number_costs_the_returns_alone(
    hud: Publisher, sink: MemorySink, reward: Any, caplog: pytest.LogCaptureFixture
) -> None:
    env = wrap(Corridor(reward=lambda at: reward), hud, info_keys=("location",))
    walk(env, 2 * LENGTH)
    hud.close()
    assert frames(sink)
    ends = [data for data in fields(sink) if "episode_end" in data]
    assert [(end["episode"], end["episode_length"], end["location"], end["action"]) for end in ends] == [
        (1, LENGTH, f"room {LENGTH}", 1), (2, LENGTH, f"room {LENGTH}", 1)
    ]  # fmt: skip
    assert not any("episode_return" in data or "episode_reward" in data for data in fields(sink))
    named = [record for record in caplog.records if f"a reward of type {type(reward).__name__}" in record.getMessage()]
    assert len(named) == 1


@pytest.mark.parametrize(
    "kind", [lambda at: np.array([float(at)]), lambda at: torch.tensor(float(at)), np.float32, int]
)
def test_a_reward_that_holds_one_number_counts(hud: Publisher, sink: MemorySink, kind: Callable[[int], Any]) -> None:
    walk(wrap(Corridor(reward=kind), hud), LENGTH)
    hud.close()
    (end,) = [data for data in fields(sink) if "episode_end" in data]
    assert end["episode_return"] == float(sum(range(1, LENGTH + 1)))


def test_an_odd_reward_spoils_only_its_episode(hud: Publisher, sink: MemorySink) -> None:
    rewards = iter([None, *[1.0] * (2 * LENGTH - 1)])
    walk(wrap(Corridor(reward=lambda at: next(rewards)), hud), 2 * LENGTH)
    hud.close()
    ends = [data for data in fields(sink) if "episode_end" in data]
    assert [end.get("episode_return") for end in ends] == [None, float(LENGTH)]


class OddInfo(Corridor):
    """Its info raises on access, and its flags are arrays."""

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = super().step(action)

        class Info(dict):  # type: ignore[type-arg]
            def __getitem__(self, key: str) -> Any:
                if key == "health":
                    raise RuntimeError("not yet")
                return super().__getitem__(key)

        return observation, reward, np.array([terminated, terminated]), np.array([truncated]), Info(info)


def test_an_info_that_raises_costs_that_field_alone(
    hud: Publisher, sink: MemorySink, caplog: pytest.LogCaptureFixture
) -> None:
    env = wrap(OddInfo(), hud, info_keys=("health", "location"), step=lambda: 1 // 0)
    env.reset()
    for _ in range(LENGTH):
        env.step(0)
    hud.close()
    (end,) = [data for data in fields(sink) if "episode_end" in data]
    assert (end["location"], end["episode_length"], end["episode_end"]) == (f"room {LENGTH}", LENGTH, "terminated")
    assert "health" not in end
    assert frames(sink)
    assert [sum(text in record.getMessage() for record in caplog.records) for text in ("not yet", "step() failed")] == [
        1,
        1,
    ]


@pytest.mark.parametrize("render_mode", ["rgb_array", None])
def test_the_checker_of_gymnasium_accepts_a_wrapped_environment_as_the_plain_one(
    hud: Publisher, render_mode: str | None
) -> None:
    from gymnasium.utils.env_checker import check_env

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_env(gymnasium.make("Corridor-v0", render_mode=render_mode))
        check_env(wrap(gymnasium.make("Corridor-v0", render_mode=render_mode), hud))
        check_env(wrap(Corridor(render_mode), hud))


def test_a_wrapped_environment_passes_on_every_argument_and_attribute(hud: Publisher) -> None:
    class Telling(Corridor):
        def reset(self, *, seed: int | None = None, options: Any = None, level: int = 0) -> Any:
            self.told = (seed, options, level)
            return super().reset(seed=seed)

    class Bare(Corridor):
        def reset(self) -> Any:  # type: ignore[override]
            self.at = 0
            return "observation", {}

    inner = Telling()
    env = wrap(inner, hud)
    env.reset(seed=3, options={"a": 1}, level=2)
    assert inner.told == (3, {"a": 1}, 2)
    assert env.np_random is inner.np_random
    assert (env.render_mode, env.metadata, env.unwrapped) == ("rgb_array", inner.metadata, inner)
    assert isinstance(env, gymnasium.Env)
    assert env.get_wrapper_attr("told") == inner.told
    assert wrap(Bare(), hud).reset() == ("observation", {})


@pytest.mark.parametrize(
    "clone", [copy.deepcopy, copy.copy, lambda env: pickle.loads(cloudpickle.dumps(env)), lambda env: env.spec.make()]
)
def test_a_copy_for_a_tree_search_is_silent_and_the_real_environment_is_shown(
    hud: Publisher, sink: MemorySink, clone: Callable[[Any], Any]
) -> None:
    env = wrap(gymnasium.make("Corridor-v0", render_mode="rgb_array"), hud)
    env.reset(seed=1)
    threads = threading.active_count()
    for _ in range(LENGTH):
        env.step(0)
        copied = clone(env)
        if clone is not copy.copy:  # which shares the environment inside
            copied.reset(seed=2)
            copied.step(1)
            copied.step(1)
    assert threading.active_count() == threads
    hud.close()
    (end,) = [data for data in fields(sink) if "episode_end" in data]
    assert (end["episode_length"], end["episode_return"]) == (LENGTH, float(sum(range(1, LENGTH + 1))))
    assert {data["episode"] for data in fields(sink) if "episode" in data} == {1}
    assert {data["action"] for data in fields(sink) if "action" in data} == {0}


def test_a_pickle_that_another_process_opens_publishes(tmp_path: Path) -> None:
    program = """
import pickle, sys
env = pickle.load(open(sys.argv[1], "rb"))
print(env._hud is not None)
"""
    hud = Publisher(redis_url="redis://127.0.0.1:1")
    path = tmp_path / "env.pickle"
    path.write_bytes(pickle.dumps(wrap(gymnasium.make("Corridor-v0"), hud)))
    hud.close(0)
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, timeout=60)
    assert done.stdout == "True\n", done.stderr


def not_environments() -> list[tuple[Any, str]]:
    from stable_baselines3.common.vec_env import DummyVecEnv

    from tests.rllib.envs import Meadow

    return [
        (gymnasium.vector.SyncVectorEnv([Corridor]), "SyncVectorEnv.*: wrap each environment inside it"),
        (Meadow(), "Meadow: under RLlib use rllib_integration.HudCallbacks"),
        (DummyVecEnv([Corridor]), r"DummyVecEnv: pass hud_publisher.SB3HudCallback\(hud\)"),
        (Corridor, "make the environment first"),
        (lambda: Corridor(), "make the environment first"),
        (object(), "object: convert it"),
        (None, "NoneType: convert it"),
    ]


@pytest.mark.parametrize("number", range(7))
def test_an_object_that_is_not_one_gymnasium_environment_is_refused_with_advice(hud: Publisher, number: int) -> None:
    env, advice = not_environments()[number]
    with pytest.raises(ConfigError, match=advice):
        wrap(env, hud)


class Broken:
    """A publisher of which every part fails."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


def test_no_error_of_hud_reaches_the_environment() -> None:
    assert repr(walk(wrap(Corridor(), Broken()), 50)) == repr(walk(Corridor(), 50))


def test_only_the_reporter_of_several_shows_its_episode(hud: Publisher, sink: MemorySink) -> None:
    make = [lambda index=index: wrap(Corridor(), hud, env_index=index) for index in range(3)]
    envs = gymnasium.vector.SyncVectorEnv(make)
    envs.reset(seed=1)
    for _ in range(LENGTH + 1):
        envs.step(np.zeros(3, np.int64))
    envs.close()
    hud.close()
    assert {entry.env for entry in frames(sink)} == {(0, 0)}
    assert len([data for data in fields(sink) if "episode_end" in data]) == 1


def test_a_wrapper_reaches_other_processes_with_its_publisher() -> None:
    hud = Publisher(redis_url="redis://127.0.0.1:1")
    envs = gymnasium.vector.AsyncVectorEnv(
        [lambda index=index: wrap(Corridor(), hud, env_index=index) for index in range(2)]
    )
    try:
        envs.reset(seed=1)
        observations, rewards, *_rest = envs.step(np.zeros(2, np.int64))
        assert (rewards == 1).all()
        assert observations.shape == (2, 2)
    finally:
        envs.close()
        hud.close(0)


def test_the_old_name_of_the_stable_baselines_callback_works_with_a_warning() -> None:
    import hud_publisher

    with pytest.warns(DeprecationWarning, match="HudCallback is named SB3HudCallback now"):
        old = hud_publisher.HudCallback
    assert old is hud_publisher.SB3HudCallback


def test_a_stable_baselines_model_is_shown_and_learns_the_same(hud: Publisher, sink: MemorySink) -> None:
    from hud_publisher import SB3HudCallback

    def learn(callback: Any) -> Any:
        model = sb3.PPO("MlpPolicy", Corridor(), n_steps=64, batch_size=32, n_epochs=1, seed=1, device="cpu")
        return model.learn(192, callback=callback).policy.state_dict()

    plain, shown = learn(None), learn(SB3HudCallback(hud))
    hud.close(10)
    assert all((plain[name] == shown[name]).all() for name in plain)
    iterations = fields(sink, "iterations")
    assert iterations[-1]["episode_len_mean"] == LENGTH
    assert {"policy_loss", "vf_loss", "entropy", "learning_rate", "iteration", "time/fps"} <= iterations[-1].keys()
    assert [entry for entry in sink.landed if isinstance(entry, FrameEntry)]
    assert {data["phase"] for data in fields(sink) if "phase" in data} == {"sampling", "learning"}
    ends = [data for data in fields(sink) if "episode_end" in data]
    assert ends[0]["episode_return"] == float(sum(range(1, LENGTH + 1)))
    told = {name: json.loads(text) for sections, _ in sink.described for name, text in sections.items()}
    assert told["config"].items() >= {"algorithm": "PPO", "learning_rate": 3e-4, "clip_range": 0.2, "seed": 1}.items()
    assert told["config"].keys() & {"num_timesteps", "device", "rollout_buffer", "verbose"} == set()


def test_no_error_of_hud_ends_training() -> None:
    from hud_publisher import SB3HudCallback

    model = sb3.PPO("MlpPolicy", Corridor(is_broken=True), n_steps=64, n_epochs=1, device="cpu")
    hud: Any = Broken()
    assert model.learn(128, callback=SB3HudCallback(hud)).num_timesteps == 128


def model_of(env: Any, **options: Any) -> Any:
    return sb3.PPO("MlpPolicy", env, **({"n_steps": 16, "batch_size": 16, "n_epochs": 1, "device": "cpu"} | options))


def test_learning_again_and_again_with_a_logger_of_the_users_writes_each_dump_once(
    hud: Publisher, sink: MemorySink
) -> None:
    from stable_baselines3.common.logger import KVWriter, Logger

    from hud_publisher import SB3HudCallback

    class Counting(KVWriter):  # type: ignore[misc]
        dumps = 0

        def write(self, *_: Any) -> None:
            self.dumps += 1

        def close(self) -> None:
            pass

    counting = Counting()
    own = Logger(None, [counting])
    formats = own.output_formats
    model = model_of(Corridor())
    model.set_logger(own)
    same = SB3HudCallback(hud)
    for callback in (same, same, SB3HudCallback(hud), SB3HudCallback(hud)):
        model.learn(48, callback=callback, reset_num_timesteps=False)
    hud.close(10)
    assert model.logger is own
    assert own.output_formats is formats == [counting]
    assert len(fields(sink, "iterations")) == counting.dumps > 4


def test_an_interrupted_training_does_not_double_the_next_ones_entries(hud: Publisher, sink: MemorySink) -> None:
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.logger import Logger

    from hud_publisher import SB3HudCallback

    class Interrupting(BaseCallback):  # type: ignore[misc]
        def _on_step(self) -> bool:
            raise KeyboardInterrupt

    model = model_of(Corridor())
    model.set_logger(Logger(None, []))
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            model.learn(48, callback=[SB3HudCallback(hud), Interrupting()])
    model.learn(32, callback=SB3HudCallback(hud))
    hud.close(10)
    assert len(fields(sink, "iterations")) == 2
    assert model.logger.output_formats == []


@pytest.mark.parametrize("is_stacked", [False, True])
def test_true_and_scaled_rewards_are_distinguished(hud: Publisher, sink: MemorySink, is_stacked: bool) -> None:
    from stable_baselines3.common.monitor import Monitor
    from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize

    from hud_publisher import SB3HudCallback

    envs: Any = VecNormalize(DummyVecEnv([lambda: Monitor(Corridor())]))
    model_of(VecFrameStack(envs, 2) if is_stacked else envs).learn(2 * LENGTH, callback=SB3HudCallback(hud))
    hud.close(10)
    total = float(sum(range(1, LENGTH + 1)))
    ends = [data for data in fields(sink) if "episode_end" in data]
    assert len(ends) >= 2
    for end in ends:
        assert (end["episode_return"], end["episode_reward"], end["reward"]) == (total, total, float(LENGTH))
        assert end["episode_reward_scaled"] < total / 2
        assert end["reward_scaled"] < LENGTH
    during = [data for data in fields(sink) if "episode_reward" in data and "episode_end" not in data]
    assert all(data["episode_reward"] == sum(range(1, data["episode_length"] + 1)) for data in during)


def test_a_scale_outside_of_the_monitor_is_noticed_at_the_first_episodes_end(hud: Publisher, sink: MemorySink) -> None:
    from stable_baselines3.common.monitor import Monitor

    from hud_publisher import SB3HudCallback

    env = gymnasium.wrappers.TransformReward(Monitor(Corridor()), lambda reward: reward / 100)
    model_of(env).learn(2 * LENGTH, callback=SB3HudCallback(hud))
    hud.close(10)
    total = float(sum(range(1, LENGTH + 1)))
    (first, second, *_rest) = [data for data in fields(sink) if "episode_end" in data]
    for end in (first, second):
        assert (end["episode_return"], end["episode_reward"]) == (total, total)
        assert end["episode_reward_scaled"] == pytest.approx(total / 100)
    assert "reward" not in second, "the rewards before the scale are known by their sum alone"
    for data in fields(sink)[fields(sink).index(first) + 1 :]:
        assert data.get("episode_reward") in (None, total)


def test_unscaled_rewards_are_never_called_scaled_even_if_learning_begins_anew_within_an_episode(
    hud: Publisher, sink: MemorySink
) -> None:
    from hud_publisher import SB3HudCallback

    model, callback = model_of(Corridor()), SB3HudCallback(hud)
    for _ in range(3):
        model.learn(LENGTH + 10, callback=callback)
    hud.close(10)
    assert not any("episode_reward_scaled" in data for data in fields(sink))
    ends = [data for data in fields(sink) if "episode_end" in data]
    assert {(end["episode_length"], end["episode_return"]) for end in ends} == {
        (LENGTH, float(sum(range(1, LENGTH + 1))))
    }


@pytest.mark.parametrize("is_broken", [True, False])
def test_every_end_of_episodes_of_one_step_is_shown(hud: Publisher, sink: MemorySink, is_broken: bool) -> None:
    from hud_publisher import SB3HudCallback

    model_of(Corridor(is_broken=is_broken, length=1)).learn(48, callback=SB3HudCallback(hud))
    hud.close(10)
    ends = [data["episode"] for data in fields(sink) if "episode_end" in data]
    assert ends == list(range(1, 49))
    reasons = [data["no_picture"] for data in fields(sink) if "no_picture" in data]
    assert reasons == (["render() raised RuntimeError: no display"] if is_broken else [])


@pytest.mark.parametrize("is_remote", [False, True])
def test_a_models_environments_keep_the_frames_that_they_collect(
    hud: Publisher, sink: MemorySink, is_remote: bool
) -> None:
    from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

    from hud_publisher import SB3HudCallback

    def make() -> Any:
        return gymnasium.make("Corridor-v0", render_mode="rgb_array_list", length=1000)

    envs = SubprocVecEnv([make], start_method="fork") if is_remote else DummyVecEnv([make])
    try:
        model_of(envs).learn(32, callback=SB3HudCallback(hud))
        hud.close(10)
        assert len(envs.env_method("render")[0]) == 33
    finally:
        envs.close()
    assert bool(frames(sink)) is not is_remote
    reasons = [data["no_picture"] for data in fields(sink) if "no_picture" in data]
    assert ["hands out each frame once" in reason for reason in reasons] == [True] * is_remote


def test_pictures_of_environments_in_other_processes_are_shown(hud: Publisher, sink: MemorySink) -> None:
    from stable_baselines3.common.vec_env import SubprocVecEnv

    from hud_publisher import SB3HudCallback

    envs = SubprocVecEnv([Corridor, Corridor], start_method="fork")
    try:
        model_of(envs).learn(32, callback=SB3HudCallback(hud, env_index=5))
    finally:
        envs.close()
    hud.close(10)
    assert {entry.env for entry in frames(sink)} == {(0, 1)}


def test_the_writer_of_a_model_leaves_out_objects_that_are_no_values(hud: Publisher, sink: MemorySink) -> None:
    from hud_publisher.integrations.sb3 import _Writer

    _Writer(hud).write({"train/entropy_loss": "none", "loss": 1.0, "video": object(), "lr": np.float32(0.5)}, {}, 7)
    hud.close(10)
    assert fields(sink, "iterations") == [{"train/entropy_loss": "none", "loss": 1.0, "lr": 0.5}]
