"""A Game Boy agent on the HUD: PPO of RLlib on PyBoy, with your cartridge or a small one made here.

    make wheel && pip install 'dist/rl_hud-0.1.0-py3-none-any.whl[web,embedded,rllib]' pyboy
    hud up                                             # the page; leave it running
    export HUD_URL=http://localhost:8086               # in another terminal
    python examples/game_boy.py [--rom FILE] [--score 0xC000] [--iterations N]

The agent sees the screen at a quarter of its size and presses one button for four frames. Its reward is the growth of
the byte at --score; for a cartridge without one, each screen never seen before.
"""

from __future__ import annotations

import argparse
import functools
import io
from pathlib import Path
from typing import Any

import gymnasium
import numpy
from game_boy_rom import SCORE, make_rom
from gymnasium.spaces import Box, Discrete
from pyboy import PyBoy

BUTTONS = ("", "right", "left", "up", "down", "a", "b")
FRAMES_PER_STEP = 4
EPISODE_STEPS = 600


class GameBoy(gymnasium.Env):
    """One console.

    Config: `rom` (bytes of a cartridge; by default the one made here) and `score` (an address; None: new screens).
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}  # noqa: RUF012  it is gymnasium's form
    render_mode = "rgb_array"
    observation_space = Box(0.0, 1.0, (36 * 40,), numpy.float32)
    action_space = Discrete(len(BUTTONS))

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        config = config or {}
        rom = config.get("rom")
        self._score_at = config.get("score", None if rom else SCORE)
        self._console = PyBoy(io.BytesIO(rom or make_rom()), window="null", sound_emulated=False, log_level="ERROR")
        self._console.set_emulation_speed(0)
        self._console.tick(120)
        self._start = io.BytesIO()
        self._console.save_state(self._start)
        self._seen: set[bytes] = set()
        self._steps = self._score = 0

    def get_action_meanings(self) -> list[str]:
        """The buttons' names, which the page shows."""
        return [button.upper() or "NOTHING" for button in BUTTONS]

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Begin again as after switching on, some frames later each time."""
        super().reset(seed=seed)
        self._start.seek(0)
        self._console.load_state(self._start)
        self._console.tick(int(self.np_random.integers(1, 60)))
        self._steps, self._score = 0, self._read_score()
        return self._observe(), self._info("")

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Hold one button."""
        button = BUTTONS[int(action)]
        if button:
            self._console.button_press(button)
        self._console.tick(FRAMES_PER_STEP)
        if button:
            self._console.button_release(button)
        self._steps += 1
        observation = self._observe()
        return observation, self._reward(observation), False, self._steps >= EPISODE_STEPS, self._info(button)

    def render(self) -> Any:
        """The screen as it is: 144 × 160 pixels."""
        return self._console.screen.ndarray[:, :, :3].copy()  # the console continues to draw into its array

    def close(self) -> None:
        """Switch it off without writing a save file."""
        self._console.stop(save=False)

    def _observe(self) -> Any:
        return (self._console.screen.ndarray[::4, ::4, 0] / 255.0).astype(numpy.float32).ravel()

    def _read_score(self) -> int:
        return 0 if self._score_at is None else int(self._console.memory[self._score_at])

    def _reward(self, observation: Any) -> float:
        if self._score_at is None:
            screen = (observation * 3).astype(numpy.uint8).tobytes()
            is_new = screen not in self._seen
            self._seen.add(screen)
            return float(is_new)
        before, self._score = self._score, self._read_score()
        return float((self._score - before) % 256)  # the byte may run over

    def _info(self, button: str) -> dict[str, Any]:
        return {"score": self._score, "pressed": button.upper(), "screens_seen": len(self._seen)}


def main(arguments: list[str] | None = None) -> None:
    """Train until the iterations are over, or Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rom", type=Path, help="your cartridge (default: a small game made here)")
    parser.add_argument("--score", type=lambda text: int(text, 0), help="address of a byte that grows with success")
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--env-runners", type=int, default=1)
    options = parser.parse_args(arguments)
    from ray.rllib.algorithms.ppo import PPOConfig

    from rllib_integration import HudCallbacks

    cartridge = {"rom": options.rom.read_bytes() if options.rom else None}
    if options.score is not None:
        cartridge["score"] = options.score
    config = (
        PPOConfig()
        .environment(GameBoy, env_config=cartridge)
        .env_runners(num_env_runners=options.env_runners, num_envs_per_env_runner=2)
        .training(train_batch_size_per_learner=1024, minibatch_size=128, num_epochs=4, lr=3e-4, entropy_coeff=0.01)
        .callbacks(functools.partial(HudCallbacks, name="PPO on a Game Boy", info_keys=("score", "pressed")))
    )
    algorithm = config.build_algo()
    try:
        for number in range(1, options.iterations + 1):
            runners = algorithm.train()["env_runners"]
            print(f"iteration {number}: mean return {runners.get('episode_return_mean', float('nan')):.1f}", flush=True)
    except KeyboardInterrupt:
        pass
    finally:
        algorithm.stop()


if __name__ == "__main__":
    main()
