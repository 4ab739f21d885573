"""A training run that is only played: something to look at where neither RLlib nor a game is installed.

    REDIS_URL=redis://localhost:6379/0 python examples/synthetic_run.py        (or HUD_URL=http://localhost:8086)

It shows all that a run can publish: metrics of steps, episodes and iterations, frames, and calls of a vision LLM. Needs
the base install of rl-hud only. Ends with Ctrl-C or SIGTERM, or after `--seconds`.
"""

from __future__ import annotations

import argparse
import math
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from PIL import Image, ImageDraw

from hud_publisher import Publisher

WIDTH, HEIGHT = 160, 144
STEPS_PER_S = 30
STEPS_PER_ITERATION = 300
VISION_EVERY = 150
PADDLE = 24


@dataclass
class Rally:
    """A ball, a paddle, and a player that improves with time."""

    skill: float
    luck: random.Random
    x: float = WIDTH / 2
    y: float = 30.0
    dx: float = 2.3
    dy: float = 2.0
    paddle: float = WIDTH / 2
    reward: float = 0.0
    is_over: bool = False
    trail: list[tuple[float, float]] = field(default_factory=list)

    def step(self) -> None:
        """Move everything by one frame."""
        self.trail = [*self.trail[-6:], (self.x, self.y)]
        self.x, self.y = self.x + self.dx, self.y + self.dy
        if not 4 < self.x < WIDTH - 4:
            self.dx = -self.dx
        if self.y < 14:
            self.dy = abs(self.dy)
        aim = self.x + self.luck.gauss(0, 26 * (1 - self.skill))
        self.paddle += max(-3.5, min(3.5, aim - self.paddle))
        if self.y > HEIGHT - 14 and self.dy > 0:
            if abs(self.x - self.paddle) < PADDLE / 2 + 2:
                self.dy = -abs(self.dy)
                self.dx += self.luck.uniform(-0.4, 0.4)
                self.reward += 1
            else:
                self.is_over = True

    def draw(self) -> Image.Image:
        """Return the picture of this moment."""
        image = Image.new("RGB", (WIDTH, HEIGHT), (11, 7, 20))
        pen = ImageDraw.Draw(image)
        pen.rectangle((0, 0, WIDTH - 1, 9), fill=(42, 30, 74))
        pen.text((4, -1), f"REWARD {self.reward:.0f}", fill=(243, 238, 255))
        for age, (x, y) in enumerate(self.trail):
            shade = 40 + 20 * age
            pen.ellipse((x - 2, y - 2, x + 2, y + 2), fill=(shade, shade // 3, shade))
        pen.ellipse((self.x - 3, self.y - 3, self.x + 3, self.y + 3), fill=(45, 226, 230))
        pen.rectangle(
            (self.paddle - PADDLE / 2, HEIGHT - 10, self.paddle + PADDLE / 2, HEIGHT - 6), fill=(199, 125, 255)
        )
        return image


def rallies(luck: random.Random) -> Iterator[Rally]:
    """Yield one episode after another, each played a little better."""
    episode = 0
    while True:
        yield Rally(skill=min(0.95, 0.3 + episode / 60), luck=luck, dx=luck.choice((-2.3, 2.3)))
        episode += 1


def publish_vision(hud: Publisher, rally: Rally, step: int, luck: random.Random) -> None:
    """Publish a call of an imaginary vision LLM."""
    side = "LEFT" if rally.x < rally.paddle else "RIGHT"
    hud.vision(
        rally.draw().resize((WIDTH * 2, HEIGHT * 2), Image.Resampling.NEAREST),
        step=step,
        prompt="Where should the paddle go?",
        response=f"The ball is to the {side.lower()} of the paddle, so go {side}.",
        response_time_ms=luck.uniform(180, 520),
        action=side,
    )


def play(hud: Publisher, seconds: float | None, luck: random.Random) -> None:
    """Play until the time is over."""
    step = iteration = 0
    began = time.monotonic()
    for episode, rally in enumerate(rallies(luck)):
        length = 0
        while not rally.is_over and length < 3_000:
            rally.step()
            step, length = step + 1, length + 1
            hud.frame(rally.draw(), step=step, episode=episode)
            if step % 10 == 0:
                hud.log({"episode_reward": rally.reward, "ball": {"x": rally.x, "y": rally.y}}, step=step)
            if step % VISION_EVERY == 0:
                publish_vision(hud, rally, step, luck)
            if step % STEPS_PER_ITERATION == 0:
                iteration += 1
                hud.log_iteration(_iteration(iteration, luck), step=step)
            if seconds is not None and time.monotonic() - began > seconds:
                return
            time.sleep(max(0.0, began + step / STEPS_PER_S - time.monotonic()))
        hud.log({"episode": episode + 1, "episode_return": rally.reward, "episode_length": length}, step=step)


def _iteration(number: int, luck: random.Random) -> dict[str, float]:
    return {
        "training_iteration": number,
        "policy_loss": 0.4 * math.exp(-number / 40) + luck.gauss(0, 0.02),
        "vf_loss": 3.0 * math.exp(-number / 25) + abs(luck.gauss(0, 0.1)),
        "entropy": 1.1 * math.exp(-number / 120),
        "learning_rate": 3e-4 * max(0.0, 1 - number / 1000),
    }


def main() -> None:
    """Read the arguments and play."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, help="end after so long")
    parser.add_argument("--name", default="synthetic run")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Publisher(name=options.name, info={"env": "paddle and ball", "algorithm": "none: it is only played"}) as hud:
        try:
            play(hud, options.seconds, random.Random(7))
        except KeyboardInterrupt:
            print("ended")


if __name__ == "__main__":
    main()
