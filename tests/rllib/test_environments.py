"""Gymnasium environments and Stable-Baselines3 models are shown, and run exactly as they would without."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
import stable_baselines3 as sb3

from hud_publisher import Publisher
from hud_publisher.protocol.entries import FrameEntry, MetricsEntry
from tests.fixtures.publishing import MemorySink

LENGTH = 30


class Corridor(gymnasium.Env):  # type: ignore[misc, name-defined]
    """Walk for LENGTH steps; the reward tells the step."""

    metadata = {"render_modes": ["rgb_array", "rgb_array_list"]}  # noqa: RUF012
    observation_space = gymnasium.spaces.Box(0, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, render_mode: str | None = "rgb_array", is_broken: bool = False) -> None:
        self.render_mode = render_mode
        self.is_broken = is_broken
        self.at = 0
        self.renders = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.at = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Any:
        self.at += 1
        info = {"location": f"room {self.at}", "health": {"current": self.at}}
        return np.full(2, self.np_random.random(), np.float32), float(self.at), self.at == LENGTH, False, info

    def render(self) -> Any:
        self.renders += 1
        if self.is_broken:
            raise RuntimeError("no display")
        picture: Any = np.full((24, 32, 3), self.at, np.uint8)
        return None if self.render_mode is None else [picture] if "list" in self.render_mode else picture


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
    """What an agent sees in so many steps."""
    seen = [env.reset(seed=1)]
    for number in range(steps):
        seen.append(env.step(number % 2))
        if seen[-1][2]:
            seen.append(env.reset())
    return seen


def fields(sink: MemorySink, stream: str = "metrics") -> list[dict[str, Any]]:
    return [dict(entry.data) for entry in sink.landed if isinstance(entry, MetricsEntry) and entry.stream == stream]


def test_a_wrapped_environment_returns_what_it_did(hud: Publisher) -> None:
    plain, wrapped = walk(Corridor(), 100), walk(wrap(Corridor(), hud), 100)
    assert repr(plain) == repr(wrapped)


def test_frames_and_every_episodes_end_are_shown(hud: Publisher, sink: MemorySink) -> None:
    env = wrap(Corridor(), hud, info_keys=("location", "health"))
    walk(env, 2 * LENGTH)
    env.close()
    hud.close()
    frames = [entry for entry in sink.landed if isinstance(entry, FrameEntry)]
    assert frames
    assert frames[0].env == (0, 0)
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


@pytest.mark.parametrize("options", [{"render_mode": None}, {"is_broken": True}])
def test_an_environment_that_gives_no_picture_runs_on_and_is_asked_seldom(
    hud: Publisher, sink: MemorySink, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    inner = Corridor(**options)
    walk(wrap(inner, hud), 200)
    hud.close()
    assert inner.renders == 1
    assert len(fields(sink)) >= 6
    assert len([record for record in caplog.records if "HUD" in record.getMessage()]) == 1


def test_a_list_of_pictures_shows_the_newest(hud: Publisher, sink: MemorySink) -> None:
    walk(wrap(Corridor("rgb_array_list"), hud), 3)
    hud.close()
    assert [entry for entry in sink.landed if isinstance(entry, FrameEntry)]


class Broken:
    """A publisher of which every part fails."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


def test_trouble_of_ours_does_not_reach_the_environment() -> None:
    assert repr(walk(wrap(Corridor(), Broken()), 50)) == repr(walk(Corridor(), 50))


def test_only_the_reporter_of_several_shows_its_episode(hud: Publisher, sink: MemorySink) -> None:
    make = [lambda index=index: wrap(Corridor(), hud, env_index=index) for index in range(3)]
    envs = gymnasium.vector.SyncVectorEnv(make)
    envs.reset(seed=1)
    for _ in range(LENGTH + 1):
        envs.step(np.zeros(3, np.int64))
    envs.close()
    hud.close()
    frames = {entry.env for entry in sink.landed if isinstance(entry, FrameEntry) and entry.stream == "frames"}
    assert frames == {(0, 0)}
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


def test_a_stable_baselines_model_is_shown_and_learns_the_same(hud: Publisher, sink: MemorySink) -> None:
    from hud_publisher import HudCallback

    def learn(callback: Any) -> Any:
        model = sb3.PPO("MlpPolicy", Corridor(), n_steps=64, batch_size=32, n_epochs=1, seed=1, device="cpu")
        return model.learn(192, callback=callback).policy.state_dict()

    plain, shown = learn(None), learn(HudCallback(hud))
    hud.close(10)
    assert all((plain[name] == shown[name]).all() for name in plain)
    iterations = fields(sink, "iterations")
    assert iterations[-1]["episode_len_mean"] == LENGTH
    assert {"policy_loss", "vf_loss", "entropy", "learning_rate", "iteration", "time/fps"} <= iterations[-1].keys()
    assert [entry for entry in sink.landed if isinstance(entry, FrameEntry)]
    assert {data["phase"] for data in fields(sink) if "phase" in data} == {"sampling", "learning"}
    ends = [data for data in fields(sink) if "episode_end" in data]
    assert ends[0]["episode_return"] == float(sum(range(1, LENGTH + 1)))


def test_trouble_of_ours_ends_no_training() -> None:
    from hud_publisher import HudCallback

    model = sb3.PPO("MlpPolicy", Corridor(is_broken=True), n_steps=64, n_epochs=1, device="cpu")
    hud: Any = Broken()
    assert model.learn(128, callback=HudCallback(hud)).num_timesteps == 128
