"""A view of the policy equals what a test records inside the env runner for that very step, live and rewound."""

from __future__ import annotations

import base64
import io
import time
from typing import Any

import numpy
import pytest
import torch
from gymnasium.spaces import Box
from PIL import Image
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core.distribution.torch import torch_distribution as distributions
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from rllib_integration.mind import describe_distribution
from rllib_integration.values import PPOWithValues
from tests.rllib.conftest import Display, running_algorithm, small
from tests.rllib.envs import Counting, Steering, picture


class Rewarding(Counting):
    """Names the parts of its reward."""

    def _observe(self) -> Any:
        observation, info = super()._observe()
        return observation, info | {"reward_parts": {"alive": 1.0, "progress": self._count - 1.0}}


class Recorder(RLlibCallback):  # type: ignore[misc]
    """Records what the module of the env runner received and returned, by HUD's step; it follows HUD in the list."""

    truths: dict[int, dict[str, Any]] = {}  # noqa: RUF012
    _forward: dict[str, Any] | None = None

    def on_environment_created(self, *, env_runner: Any, **_more: Any) -> None:
        self.truths.clear()

    def on_episode_step(self, *, env_runner: Any, env_index: int, episode: Any, rl_module: Any, **_more: Any) -> None:
        if "forward_exploration" not in vars(rl_module):
            self._watch(rl_module)
        elif env_index == 0 and self._forward is not None:
            runner = env_runner._callbacks[0]._runner
            if runner is not None:
                row = {name: value[0] for name, value in self._forward.items()}
                row |= {"action": int(numpy.ravel(episode.get_actions(-1))[0]), "reward": episode.get_rewards(-1)}
                self.truths[runner.steps.now] = row

    def _watch(self, module: Any) -> None:
        forward = module.forward_exploration

        def recorded(batch: Any, **more: Any) -> Any:
            outputs = forward(batch, **more)
            with torch.no_grad():
                found = {"observation": batch["obs"].clone()}
                if "action_dist_inputs" in outputs:
                    found["probabilities"] = torch.softmax(outputs["action_dist_inputs"], -1)
                if hasattr(module, "compute_q_values"):
                    found["q_values"] = module.compute_q_values(batch)["qf_preds"]
                if hasattr(module, "vf") and hasattr(module, "compute_values"):
                    found["value"] = module.compute_values(batch)
            self._forward = {name: value.numpy().copy() for name, value in found.items()}
            return outputs

        module.forward_exploration = recorded


def ppo() -> Any:
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.connectors.env_to_module.mean_std_filter import MeanStdFilter

    config = (
        PPOConfig()
        .environment(Rewarding)
        .env_runners(
            num_env_runners=0, num_envs_per_env_runner=2, rollout_fragment_length=32,
            env_to_module_connector=lambda *_spaces, **_more: MeanStdFilter(),
        )
        .training(train_batch_size_per_learner=64, minibatch_size=64, num_epochs=1)
    )  # fmt: skip
    return small(config).rl_module(rl_module_spec=RLModuleSpec(module_class=PPOWithValues))


def dqn() -> Any:
    from ray.rllib.algorithms.dqn import DQNConfig

    replay = {"type": "PrioritizedEpisodeReplayBuffer", "capacity": 1000}
    config = DQNConfig().environment(Rewarding).training(replay_buffer_config=replay, train_batch_size_per_learner=16)
    config = config.training(num_steps_sampled_before_learning_starts=16)
    config = config.env_runners(num_env_runners=0, num_envs_per_env_runner=2)
    return small(config).reporting(min_sample_timesteps_per_iteration=64, min_time_s_per_iteration=0)


@pytest.mark.usefixtures("cluster", "no_errors_of_ours")
@pytest.mark.parametrize(("make", "parts"), [(ppo, {"probabilities", "value"}), (dqn, {"q_values"})])
def test_a_view_equals_the_record_of_its_step_live_and_rewound(display: Display, make: Any, parts: set[str]) -> None:
    with running_algorithm(make().callbacks([display.callbacks(), Recorder])) as algorithm:
        deadline = time.monotonic() + 60
        while len(display.stream.named("mind")) < 12 and time.monotonic() < deadline:
            algorithm.train()
    truths = dict(Recorder.truths)
    views = display.wait(lambda page: page.stream.named("mind"), "views of the policy")
    assert len(views) >= 12
    for view in views:
        truth = truths[view["step"]]
        for name in parts | {"observation"}:
            assert view[name] == pytest.approx(truth[name].tolist(), abs=1e-5), (name, view)
        assert parts == view.keys() & {"probabilities", "value", "q_values", "mean"}
        assert (view["action"], view["env"], view["image"]) == (truth["action"], [0, 0], None)
        assert view["reward_parts"] == {"alive": 1.0, "progress": truth["reward"] - 1.0}
        if "probabilities" in parts:
            chances = truth["probabilities"].astype(float)
            assert view["entropy"] == pytest.approx(-(chances * numpy.log(chances)).sum(), abs=1e-5)
    frames = {(frame["time_ms"], frame["step"], frame["episode"]) for frame in display.frames()}
    together = [view for view in views if (view["time_ms"], view["step"], view["episode"]) in frames]
    assert len(together) > len(views) * 0.8
    rewound = display.hud.web.get(f"/api/mind?channel={display.channel}")[1]["mind"]
    by_id = {view["id"]: view for view in rewound}
    assert [by_id[view["id"]] | {"image": None} for view in views] == views
    assert len({view["episode"] for view in views}) > 1


class Watching(Rewarding):
    """Observes a grey picture of its step, from 0 to 1."""

    observation_space = Box(0, 1, (12, 16, 1), numpy.float32)

    def _observe(self) -> Any:
        _observation, info = super()._observe()
        return picture(self._count)[:12, :16, :1].astype(numpy.float32) / 255, info


@pytest.mark.usefixtures("cluster", "no_errors_of_ours")
def test_stacked_pictures_are_the_pixels_that_the_module_received(display: Display) -> None:
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.connectors.env_to_module.frame_stacking import FrameStackingEnvToModule
    from ray.rllib.connectors.learner.frame_stacking import FrameStackingLearner

    config = (
        PPOConfig()
        .environment(Watching)
        .env_runners(
            num_env_runners=0,
            env_to_module_connector=lambda *_spaces, **_more: FrameStackingEnvToModule(num_frames=4),
        )
        .training(
            train_batch_size_per_learner=64, minibatch_size=64, num_epochs=1,
        )
        .learners(learner_connector=lambda *_spaces, **_more: FrameStackingLearner(num_frames=4))
        .rl_module(model_config={"conv_filters": [[4, 4, 4]], "head_fcnet_hiddens": [8]})
        .debugging(log_level="ERROR", seed=1)
        .callbacks([display.callbacks(), Recorder])
    )  # fmt: skip
    with running_algorithm(config) as algorithm:
        deadline = time.monotonic() + 60
        while len(display.stream.named("mind")) < 4 and time.monotonic() < deadline:
            algorithm.train()
    views = display.wait(lambda page: page.stream.named("mind"), "views of the policy")
    for view in views:
        sheet = numpy.asarray(Image.open(io.BytesIO(base64.b64decode(view["image"]))))
        received = numpy.round(Recorder.truths[view["step"]]["observation"] * 255)
        assert received.shape == (12, 16, 4)
        assert (sheet == numpy.concatenate([received[:, :, at] for at in range(4)], axis=1)).all()
        assert (view["observation_tiles"], view["observation_range"]) == ([4, 4], [0.0, 1.0])
        status, kept = display.hud.web.get(f"/api/mind/{view['id']}?channel={display.channel}")
        assert (status, kept) == (200, base64.b64decode(view["image"]))


@pytest.mark.usefixtures("cluster", "no_errors_of_ours")
def test_a_continuous_choice_has_its_mean_and_deviation(display: Display) -> None:
    from ray.rllib.algorithms.ppo import PPOConfig

    config = PPOConfig().environment(Steering).env_runners(num_env_runners=0)
    config = small(config.training(train_batch_size_per_learner=128, minibatch_size=64, num_epochs=1))
    with running_algorithm(config.callbacks(display.callbacks())) as algorithm:
        deadline = time.monotonic() + 60
        while not display.stream.named("mind") and time.monotonic() < deadline:
            algorithm.train()
    view = display.wait(lambda page: page.stream.named("mind"), "a view of the policy")[0]
    assert len(view["mean"]) == len(view["deviation"]) == len(view["action"]) == 2
    assert view["entropy"] == pytest.approx(sum(1.4189385 + numpy.log(part) for part in view["deviation"]), abs=1e-4)
    assert "value" not in view  # modules for inference lack the value head


def test_each_distribution_of_rllib_is_described() -> None:
    inputs = torch.tensor([0.0, 1.0, -1.0, 0.5])
    found = describe_distribution(distributions.TorchCategorical, inputs)["probabilities"]
    assert found == pytest.approx(torch.softmax(inputs, -1).tolist())
    several = distributions.TorchMultiCategorical.get_partial_dist_cls(input_lens=[1, 3])
    found = describe_distribution(several, inputs.numpy())["probabilities"]
    assert found[0] == [1.0]
    assert found[1] == pytest.approx(torch.softmax(inputs[1:], -1).tolist())
    normal = describe_distribution(distributions.TorchDiagGaussian, inputs)
    assert (normal["mean"], normal["deviation"]) == ([0.0, 1.0], pytest.approx(inputs[2:].exp().tolist()))
    squashed = describe_distribution(distributions.TorchSquashedGaussian, inputs)
    assert squashed["mean"] == [0.0, 1.0]
    assert squashed["squashed"] is True
    assert describe_distribution(None, inputs) == {}
    assert describe_distribution(distributions.TorchDeterministic, inputs) == {}
