"""The programs: each trains for up to two minutes, and fails in one way or not at all.

`python -m tests.verdicts.runs NAME` runs one; REDIS_URL and HUD_CHANNEL name the display. A program prints APPEARED
when its fault is in the data for the first time.
"""

from __future__ import annotations

import base64
import contextlib
import io
import math
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from hud_publisher import Publisher

LUCK = random.Random(7)
#: Time between two episodes of a program that only logs, and how long such a program lasts.
EPISODE_S = 0.1
LASTS_S = 100.0


def appear() -> None:
    """Record that the fault is in the data from now on."""
    print("APPEARED", flush=True)


def clock(lasts_s: float = LASTS_S, period_s: float = EPISODE_S) -> Iterator[float]:
    """Yield the seconds since the start, once per period."""
    began = time.monotonic()
    while (now := time.monotonic() - began) < lasts_s:
        yield now
        time.sleep(period_s)


def learned(now: float, noise: float = 20.0) -> float:
    """Return the noisy return of a run that learns within a minute, from about 20 to 300."""
    return max(8.0, 20 + 280 * (1 - math.exp(-now / 40)) + LUCK.gauss(0, noise))


def png(pixels: Any) -> bytes:
    """Return a picture as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


class Loop:
    """A hand-written loop: every episode is logged, every tenth one an update with its losses."""

    def __init__(self, **overrides: Any) -> None:
        self.hud = Publisher(name=sys.argv[1], info={"env": "Loop-v0"}, **overrides)
        self.step, self.episodes = 0, 0

    def episode(self, reward: float, length: int | None = None, **fields: Any) -> None:
        length = max(1, int(30 + LUCK.gauss(60, 15))) if length is None else length
        self.step += length
        self.episodes += 1
        self.hud.log(
            {"episode_return": reward, "episode_length": length, "action": LUCK.randrange(4), **fields}, step=self.step
        )
        if self.episodes % 10 == 0:
            self.hud.log_iteration(self.update(), step=self.step)

    def update(self) -> dict[str, Any]:
        share = math.exp(-self.episodes / 500)
        return {
            "training_iteration": self.episodes // 10, "policy_loss": LUCK.gauss(-0.02, 0.01),
            "value_loss": abs(LUCK.gauss(40, 8)) * (0.3 + share),
            "entropy": 1.38 * (0.4 + 0.55 * share) + LUCK.gauss(0, 0.02),
            "approx_kl": abs(LUCK.gauss(0.008, 0.003)), "clip_fraction": abs(LUCK.gauss(0.08, 0.03)),
            "explained_variance": min(0.95, 0.9 - share + LUCK.gauss(0, 0.05)), "learning_rate": 3e-4,
            "grad_norm": abs(LUCK.gauss(0.6, 0.15)), "steps_per_s": LUCK.gauss(900, 40),
        }  # fmt: skip


def learn(change: Callable[[Loop, float], dict[str, Any]], **overrides: Any) -> None:
    """Train with a change: a function of the loop and the seconds, whose fields replace those of the episode."""
    loop = Loop(**overrides)
    for now in clock():
        fields = {"reward": learned(now)} | change(loop, now)
        loop.episode(**fields)
    loop.hud.close()


def once(when_s: float) -> Callable[[float], bool]:
    """Return a test whether the fault has begun, which records its appearance."""
    state = {"has": False}

    def has_begun(now: float) -> bool:
        if now >= when_s and not state["has"]:
            state["has"] = True
            appear()
        return state["has"]

    return has_begun


def with_update(begins_s: float, **broken: Callable[[int], float]) -> None:
    """Train with fields of the update that break at a moment; each is a function of the updates since then.

    The policy learns nothing from then on.
    """
    has_begun = once(begins_s)
    count = {"n": 0}

    def change(loop: Loop, now: float) -> dict[str, Any]:
        if has_begun(now):

            def update() -> dict[str, Any]:
                count["n"] += 1
                return Loop.update(loop) | {name: value(count["n"]) for name, value in broken.items()}

            loop.update = update  # type: ignore[method-assign]
        return {"reward": learned(min(now, begins_s))}

    learn(change)


# -- faults of the data ----------------------------------------------------------------------------------------------


def nan_by_log_of_zero() -> None:
    has_begun = once(15)
    learn(lambda loop, now: {"loss": float("nan")} if has_begun(now) else {"loss": -math.log(0.5)})


def wrong_reward_sign() -> None:
    appear()
    learn(lambda _loop, now: {"reward": 300 - learned(now) + LUCK.gauss(0, 10)})


def rise_and_collapse() -> None:
    has_begun = once(45)
    learn(lambda _loop, now: {"reward": abs(LUCK.gauss(9, 2)), "length": 12} if has_begun(now) else {})


def entropy_collapse() -> None:
    with_update(4, entropy=lambda n: 0.02 / n)


def kl_spikes() -> None:
    with_update(20, approx_kl=lambda n: 0.9 if n % 3 == 0 else 0.3)


def value_loss_explodes() -> None:
    with_update(20, value_loss=lambda n: 40.0 * 10 ** min(n, 12))


def value_function_learns_nothing() -> None:
    with_update(0, explained_variance=lambda n: -0.2 - 0.01 * (n % 5))


def gradient_is_zero() -> None:
    with_update(20, grad_norm=lambda n: 0.0)


def learning_rate_is_zero() -> None:
    with_update(20, learning_rate=lambda n: 0.0)


def single_action() -> None:
    has_begun = once(10)
    learn(lambda _loop, now: {"action": 2, "reward": learned(2, noise=3)} if has_begun(now) else {})


def episodes_too_short() -> None:
    appear()
    learn(lambda _loop, _now: {"reward": float(LUCK.choice([-1, 0])), "length": 1})


def every_return_is_equal() -> None:
    appear()
    learn(lambda _loop, _now: {"reward": 0.0})


def reward_hacking() -> None:
    appear()
    learn(lambda _loop, now: {"success_rate": max(0.0, min(1.0, 0.8 - now / 110 + LUCK.gauss(0, 0.03)))})


def frozen_emulator() -> None:
    loop, has_begun = Loop(frames="always"), once(15)
    frame = np.random.default_rng(1).integers(0, 255, (84, 84, 3), dtype=np.uint8)
    for now in clock():
        if not has_begun(now):
            frame = np.roll(frame, 3, axis=1)
        for _ in range(3):
            loop.hud.frame(frame, step=loop.step)
        loop.episode(learned(now))
    loop.hud.close()


def vision_server_down() -> None:
    import openai

    from hud_publisher.integrations.openai_watch import watch_openai

    loop = Loop()
    picture = "data:image/png;base64," + base64.b64encode(png(np.zeros((8, 8, 3), np.uint8))).decode()
    content = [{"type": "text", "text": "Which button?"}, {"type": "image_url", "image_url": {"url": picture}}]
    messages: Any = [{"role": "user", "content": content}]
    client = openai.OpenAI(base_url="http://127.0.0.1:9/v1", api_key="none", max_retries=0, timeout=2)
    watch_openai(client, loop.hud)
    appear()
    for number, now in enumerate(clock()):
        loop.episode(learned(now))
        if number % 30 == 0:
            with contextlib.suppress(openai.OpenAIError):
                client.chat.completions.create(model="pixtral", messages=messages)
    loop.hud.close()


# -- deaths ----------------------------------------------------------------------------------------------------------


def env_raises_in_step_5000() -> None:
    import gymnasium
    from stable_baselines3 import PPO

    from hud_publisher.integrations.sb3 import SB3HudCallback

    class Breaks(gymnasium.Wrapper[Any, Any, Any, Any]):
        steps = 0

        def step(self, action: Any) -> Any:
            self.steps += 1
            if self.steps == 5_000:
                appear()
                raise RuntimeError("the emulator lost its save state")
            return super().step(action)

    model = PPO("MlpPolicy", Breaks(gymnasium.make("CartPole-v1")), device="cpu", n_steps=256)
    model.learn(100_000, callback=SB3HudCallback(Publisher(name="sb3")))


def out_of_memory() -> None:
    loop = Loop()
    for now in clock():
        loop.episode(learned(now))
        if now > 15:
            appear()
            raise MemoryError("CUDA out of memory. Tried to allocate 2.50 GiB")


def killed_driver() -> None:
    loop = Loop()
    for now in clock():
        loop.episode(learned(now))
        if now > 20:
            appear()
            os.kill(os.getpid(), signal.SIGKILL)


def exit_code_3() -> None:
    loop = Loop()
    for now in clock():
        loop.episode(learned(now))
        if now > 10:
            appear()
            sys.exit(3)


def memory_leak() -> None:
    has_begun, kept = once(10), []

    def change(_loop: Loop, now: float) -> dict[str, Any]:
        if has_begun(now):
            kept.append(np.ones(1_200_000))  # 96 MB per second
        return {}

    learn(change)


# -- RLlib -----------------------------------------------------------------------------------------------------------


def rllib(iterations: int, change: Callable[[Any], Any] = lambda config: config, **parts: Any) -> Any:
    """Train PPO on CartPole with the callbacks."""
    import ray
    from ray.rllib.algorithms.ppo import PPOConfig

    from rllib_integration import HudCallbacks

    ray.init(num_cpus=3, log_to_driver=False, include_dashboard=False)
    config = (
        PPOConfig()
        .environment("CartPole-v1")
        .env_runners(num_env_runners=parts.pop("env_runners", 0), rollout_fragment_length=parts.pop("fragment", "auto"))
        .training(train_batch_size_per_learner=1000, minibatch_size=128, num_epochs=4, lr=parts.pop("lr", 3e-4))
        .fault_tolerance(restart_failed_env_runners=True)
        .callbacks(HudCallbacks)
    )
    algorithm = change(config).build_algo()
    for number in range(iterations):
        parts.get("before", lambda _algorithm, _number: None)(algorithm, number)
        algorithm.train()
    algorithm.stop()


def rllib_learning_rate_10() -> None:
    appear()
    rllib(40, lr=10.0)


def rllib_env_runner_killed() -> None:
    def before(algorithm: Any, number: int) -> None:
        import ray

        if number and number % 6 == 0:
            appear()
            actor = next(iter(algorithm.env_runner_group._worker_manager.actors().values()))
            pid = ray.get(actor.apply.remote(lambda _runner: os.getpid()))
            os.kill(pid, signal.SIGKILL)

    rllib(30, env_runners=2, before=before)


def rllib_deadlocked_learner() -> None:
    def before(algorithm: Any, number: int) -> None:
        if number == 6:
            learner = algorithm.learner_group._learner
            learner.update = lambda *_args, **_kwargs: (appear(), time.sleep(300))

    rllib(30, before=before)


# -- healthy ---------------------------------------------------------------------------------------------------------


def healthy_loop() -> None:
    learn(lambda _loop, _now: {})


def healthy_solved_cartpole() -> None:
    """Solved: every episode is truncated at 500 steps with a return of 500."""

    def change(_loop: Loop, now: float) -> dict[str, Any]:
        length = 500 if now > 40 else int(min(500, 20 + 480 * now / 40 + LUCK.gauss(0, 20 + now)))
        length = max(9, min(500, length))
        return {"reward": float(length), "length": length, "truncated": length == 500, "terminated": length < 500}

    learn(change)


def healthy_sparse_noise() -> None:
    """A sparse reward: most episodes end with 0, some with 1, rarely more often later; nothing is wrong."""
    learn(lambda _loop, now: {"reward": float(LUCK.random() < 0.05 + now / 500)})


def healthy_sb3() -> None:
    from stable_baselines3 import PPO

    from hud_publisher.integrations.sb3 import SB3HudCallback

    hud = Publisher(name="sb3")
    PPO("MlpPolicy", "CartPole-v1", device="cpu", n_steps=512).learn(60_000, callback=SB3HudCallback(hud))
    hud.close()


def healthy_sb3_dqn() -> None:
    from stable_baselines3 import DQN

    from hud_publisher.integrations.sb3 import SB3HudCallback

    hud = Publisher(name="dqn")
    model = DQN(
        "MlpPolicy", "CartPole-v1", device="cpu", learning_rate=2.3e-3, batch_size=64, learning_starts=1_000,
        target_update_interval=10, train_freq=256, gradient_steps=128, exploration_fraction=0.16,
        exploration_final_eps=0.04, policy_kwargs={"net_arch": [256, 256]},
    )  # fmt: skip
    model.learn(40_000, callback=SB3HudCallback(hud))
    hud.close()


def healthy_rllib() -> None:
    rllib(40, env_runners=1)


#: Name of the failing program → a pattern that the first line must match within a minute.
FAILING: dict[str, tuple[Callable[[], None], str]] = {
    "nan_by_log_of_zero": (nan_by_log_of_zero, r"NaN.*loss|loss.*NaN"),
    "wrong_reward_sign": (wrong_reward_sign, r"(?i)fall|worse|unlearn|declin"),
    "rise_and_collapse": (rise_and_collapse, r"(?i)collaps"),
    "entropy_collapse": (entropy_collapse, r"(?i)entropy"),
    "kl_spikes": (kl_spikes, r"KL"),
    "value_loss_explodes": (value_loss_explodes, r"(?i)value loss"),
    "value_function_learns_nothing": (value_function_learns_nothing, r"(?i)explained variance|value function"),
    "gradient_is_zero": (gradient_is_zero, r"(?i)gradient"),
    "learning_rate_is_zero": (learning_rate_is_zero, r"(?i)learning rate"),
    "single_action": (single_action, r"(?i)action"),
    "episodes_too_short": (episodes_too_short, r"(?i)episodes?.*(short|step)"),
    "every_return_is_equal": (every_return_is_equal, r"(?i)return"),
    "reward_hacking": (reward_hacking, r"(?i)success"),
    "frozen_emulator": (frozen_emulator, r"(?i)picture|frame|frozen"),
    "vision_server_down": (vision_server_down, r"(?i)vision"),
    "env_raises_in_step_5000": (env_raises_in_step_5000, r"save state"),
    "out_of_memory": (out_of_memory, r"CUDA out of memory"),
    "killed_driver": (killed_driver, r"(?i)last heard|died|killed"),
    "exit_code_3": (exit_code_3, r"(?i)exit.*3"),
    "memory_leak": (memory_leak, r"(?i)memory.*grows"),
    "rllib_learning_rate_10": (rllib_learning_rate_10, r"(?i)NaN|KL|entropy|collaps|flat|loss"),
    "rllib_env_runner_killed": (rllib_env_runner_killed, r"(?i)env runner"),
    "rllib_deadlocked_learner": (rllib_deadlocked_learner, r"(?i)hung|no data"),
}
HEALTHY: dict[str, Callable[[], None]] = {
    "healthy_loop": healthy_loop, "healthy_solved_cartpole": healthy_solved_cartpole,
    "healthy_sparse_noise": healthy_sparse_noise, "healthy_sb3": healthy_sb3, "healthy_sb3_dqn": healthy_sb3_dqn,
    "healthy_rllib": healthy_rllib,
}  # fmt: skip

if __name__ == "__main__":
    ({name: program for name, (program, _pattern) in FAILING.items()} | HEALTHY)[sys.argv[1]]()
