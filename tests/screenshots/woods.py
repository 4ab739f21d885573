"""A small invented adventure game, and a training run that plays it, for the screenshots."""

from __future__ import annotations

import io
import math
import random
import time
from typing import Any

from PIL import Image, ImageDraw

from hud_publisher.protocol.batch import Batch
from hud_publisher.protocol.batch_body import MEDIA_TYPE, encode_batch
from hud_publisher.protocol.entries import Entry, FrameEntry, MetricsEntry, MindEntry, VisionEntry
from hud_publisher.protocol.keys import SessionId
from tests.fixtures.web import WebServer

ACTIONS = ["UP", "DOWN", "LEFT", "RIGHT", "A", "B"]
ENVS = [(1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (3, 1)]
#: The four greens of the handheld console whose frame size this is.
DARK, MIDDLE, LIGHT, PALE = (15, 56, 15), (48, 98, 48), (139, 172, 15), (202, 220, 159)


class World:
    """A walk through woods on a 10×9 grid of 16-pixel tiles: one env of a made-up game."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.begin()

    def begin(self) -> None:
        """Start an episode."""
        self.x, self.y, self.room, self.hearts, self.reward, self.length = 72.0, 64.0, 0, 3, 0.0, 0
        self.goal = (80.0, 80.0)
        self.action = "RIGHT"
        self.rooms = {0}

    def step(self) -> bool:
        """Walk one frame; returns whether the episode is over."""
        self.length += 1
        if math.dist((self.x, self.y), self.goal) < 4 or self.length % 60 == 0:
            self.goal = (self._random.uniform(12, 140), self._random.uniform(24, 124))
        dx, dy = self.goal[0] - self.x, self.goal[1] - self.y
        self.action = ("RIGHT" if dx > 0 else "LEFT") if abs(dx) > abs(dy) else ("DOWN" if dy > 0 else "UP")
        if self._random.random() < 0.06:
            self.action = self._random.choice(["A", "B"])
        else:
            self.x += 2 * (self.action == "RIGHT") - 2 * (self.action == "LEFT")
            self.y += 2 * (self.action == "DOWN") - 2 * (self.action == "UP")
        self.reward += 0.02
        if self._random.random() < 0.012:
            self.room = (self.room + 1) % 24
            self.reward += 1.5
            self.rooms.add(self.room)
        if self._random.random() < 0.008:
            self.hearts -= 1
        return self.hearts <= 0 or self.length > 420

    def draw(self) -> Image.Image:
        """Return the frame, 160×144."""
        tiles = random.Random(self.room)
        image = Image.new("RGB", (160, 144), PALE)
        draw = ImageDraw.Draw(image)
        for row in range(1, 9):
            for column in range(10):
                left, top = column * 16, row * 16
                kind = tiles.random()
                is_edge = row in (1, 8) or column in (0, 9)
                if (is_edge and kind < 0.8) or kind < 0.06:
                    draw.rectangle((left, top, left + 15, top + 15), fill=MIDDLE)
                    draw.ellipse((left + 1, top, left + 14, top + 11), fill=DARK)
                    draw.ellipse((left + 4, top + 2, left + 9, top + 6), fill=MIDDLE)
                    draw.rectangle((left + 6, top + 11, left + 9, top + 15), fill=DARK)
                elif kind < 0.3:
                    for at in range(3):
                        grass = left + 2 + at * 5, top + tiles.randint(3, 10)
                        draw.line((*grass, grass[0] + 1, grass[1] + 3), fill=LIGHT)
                elif kind > 0.95:
                    draw.rectangle((left + 2, top + 4, left + 13, top + 13), fill=LIGHT, outline=DARK)
        draw.rectangle((0, 0, 159, 15), fill=DARK)
        for heart in range(3):
            color = PALE if heart < self.hearts else MIDDLE
            draw.polygon(
                [(6 + heart * 12, 5), (9 + heart * 12, 3), (12 + heart * 12, 5), (9 + heart * 12, 11)], fill=color
            )
        draw.text((118, 2), f"{len(self.rooms):03}", fill=PALE)
        x, y = round(self.x), round(self.y)
        draw.rectangle((x + 1, y, x + 10, y + 6), fill=DARK)
        draw.rectangle((x + 3, y + 3, x + 8, y + 6), fill=PALE)
        draw.rectangle((x + 2, y + 7, x + 9, y + 12), fill=MIDDLE, outline=DARK)
        return image


class Run:
    """A made-up training run that plays the game."""

    def __init__(self, server: WebServer, name: str, **body: Any) -> None:
        self._server = server
        info = {"env": "Woods-v0", "algorithm": "PPO"}
        status, answer = server.post("/api/register_session", {"name": name, "run_id": name, "info": info} | body)
        assert status == 200, answer
        self.session_id = SessionId(answer["session_id"])
        config = {
            "lr": 3e-4,
            "gamma": 0.995,
            "train_batch_size": 1000,
            "model": {"conv_filters": [[16, 8, 4], [32, 4, 2]]},
        }
        if name.endswith("s2"):
            config["lr"] = 1e-3
        sections = {"config": config, "versions": {"python": "3.11.9", "ray": "2.60.0", "torch": "2.13.0"}}
        server.post("/api/config", {"session_id": self.session_id, "sections": sections})
        self.worlds = [World(seed) for seed in range(len(ENVS))]
        self.number = self.flags = 0
        self.calls = 310
        self.step, self.episode, self.iteration = 0, 1_198, 0
        self.is_playing = True

    def publish(self, *entries: Entry) -> None:
        """Send one batch; a server that is away is none of this run's business."""
        self.number += 1
        body = encode_batch(self.session_id, Batch("w1", self.number, entries))
        self._server.post("/api/publish", body, {"Content-Type": MEDIA_TYPE})

    def train(self, iterations: int) -> None:
        """Publish the results of this number of iterations."""
        entries: list[Entry] = []
        for _ in range(iterations):
            self.iteration += 1
            n, noise = self.iteration, random.gauss
            rise = 1 - math.exp(-n / 90)
            entries.append(
                MetricsEntry(
                    {
                        "iteration": n, "global_step": n * 1000, "episodes_total": n * 6,
                        "episode_return_mean": 2 + 16 * rise + noise(0, 0.7),
                        "episode_return_max": 6 + 22 * rise + noise(0, 1),
                        "episode_return_min": 0.5 + 3 * rise + noise(0, 0.3),
                        "episode_len_mean": 180 + 160 * rise + noise(0, 9),
                        "policy_loss": -0.03 + 0.02 * math.exp(-n / 60) + noise(0, 0.003),
                        "vf_loss": 0.9 * math.exp(-n / 70) + abs(noise(0.06, 0.03)),
                        "entropy": 2.0 * math.exp(-n / 260) + noise(0, 0.02), "kl": abs(noise(0.012, 0.003)),
                        "learning_rate": 3e-4, "vf_explained_var": 0.9 * rise + noise(0, 0.02),
                        "env_steps_per_s": 1850 + noise(0, 60), "timers/sample": abs(noise(3.1, 0.3)),
                        "timers/learn": abs(noise(1.4, 0.1)), "custom/rooms_discovered": 4 + 20 * rise + noise(0, 0.5),
                        "sys/cpu": noise(78, 4), "sys/rss_gb": 5 + n / 300, "llm_success_rate": 0.962,
                        "llm_alignment": min(0.95, 0.2 + 0.5 * rise + noise(0, 0.04)),
                    },
                    _now_ms() - (iterations - len(entries)) * 9_000, n * 1000, "iterations",
                )
            )  # fmt: skip
        self.step = max(self.step, self.iteration * 1000)
        for start in range(0, len(entries), 200):
            self.publish(*entries[start : start + 200])

    def play(self) -> None:
        """Play until told to stop, 20 frames a second; now and then the learner has its turn."""
        tick = 0
        while self.is_playing:
            started = time.monotonic()
            tick += 1
            self._tick(tick)
            time.sleep(max(0.0, 0.05 - (time.monotonic() - started)))

    def _tick(self, tick: int) -> None:
        self.step += 5
        overs = [world.step() for world in self.worlds]
        world = self.worlds[0]
        now = _now_ms()
        entries: list[Entry] = [FrameEntry(_png(world.draw()), now, "image/png", self.step, self.episode, ENVS[0])]
        if tick % 4 == 0:
            entries.append(self._think(world, now))
        if tick % 2 == 0:
            entries.append(MetricsEntry(self._fields(world), now, self.step))
        if tick % 20 == 0:
            for env, other in zip(ENVS, self.worlds, strict=True):
                entries.append(
                    FrameEntry(_png(other.draw().resize((80, 72))), now, "image/png", self.step, None, env, "thumbs")
                )
        if tick % 90 == 30:
            entries += [self._ask(world, now), MetricsEntry({"llm_calls": self.calls}, now, self.step)]
        if overs[0]:
            result: dict[str, Any] = {
                "episode": self.episode,
                "episode_return": round(world.reward, 2),
                "episode_end": "terminated",
            }
            entries.append(MetricsEntry(result, now, self.step))
            self.episode += 1
            self.flags = min(3, self.flags + 1)
        self.publish(*entries)
        for other, over in zip(self.worlds, overs, strict=True):
            if over:
                other.begin()
        if tick % 180 == 0:
            self.train(1)
        if tick % 100 == 0:
            self.publish(MetricsEntry({"machine": self._use(tick)}, now, None, "machine"))

    def _use(self, tick: int) -> dict[str, Any]:
        use: dict[str, Any] = {
            f"env runner {n}": {
                "cpu_percent": random.gauss(88, 3), "memory_bytes": int(9e8 + 2e7 * n + 4e5 * tick * (n == 2))
            }
            for n in (1, 2, 3)
        }  # fmt: skip
        use["driver"] = {"cpu_percent": random.gauss(42, 4), "memory_bytes": int(2.1e9 + 1e4 * tick)}
        use["node gpu-box"] = {
            "cpu_percent": random.gauss(71, 3), "memory_bytes": int(9.2e9 + 5e5 * tick),
            "memory_total_bytes": int(32e9),
            "gpu 0": {"use_percent": random.gauss(63, 5), "memory_bytes": int(5.1e9), "memory_total_bytes": int(8e9)},
        }  # fmt: skip
        return use

    def die(self) -> None:
        """Report that an env runner died, as its process does."""
        self.publish(
            MetricsEntry(
                {
                    "kind": "death", "process": "env runner 2", "exception": "ValueError",
                    "message": "expected a room from 0 to 23, got 24", "exit_code": 1, "memory_bytes": int(1.6e9),
                    "traceback": [
                        "ray/rllib/env/single_agent_env_runner.py:261 in _sample: results = self.env.step(actions)",
                        "woods/env.py:118 in step: self.enter(self.room + 1)",
                        "woods/env.py:64 in enter: raise ValueError(f\"expected a room from 0 to 23, got {room}\")",
                    ],
                },
                _now_ms(), self.step, "reports",
            )
        )  # fmt: skip

    def _think(self, world: World, now: int) -> MindEntry:
        """Return the policy's view: it prefers the action that it takes, and values the coming rewards."""
        odds = [math.exp(random.gauss(0, 0.5) + 2.2 * (name == world.action)) for name in ACTIONS]
        probabilities = [part / sum(odds) for part in odds]
        grey = world.draw().convert("L").resize((84, 84))
        stacked = Image.new("L", (4 * 84, 84))
        for tile in range(4):
            stacked.paste(grey, (tile * 84, 0))
        data: dict[str, Any] = {
            "action": ACTIONS.index(world.action), "action_name": world.action, "action_names": ACTIONS,
            "probabilities": probabilities, "entropy": -sum(part * math.log(part) for part in probabilities),
            "value": 4 + 1.5 * math.sin(world.length / 45) - world.length / 160 + random.gauss(0, 0.1),
            "observation_tiles": [4, 4], "observation_range": [0, 255],
            "reward_parts": {"exploration": 0.02, "new room": 1.5 * (world.length % 80 < 4), "time": -0.01},
        }  # fmt: skip
        return MindEntry(data, now, self.step, self.episode, ENVS[0], _png(stacked))

    def _fields(self, world: World) -> dict[str, Any]:
        return {
            "phase": "sampling", "episode": self.episode, "episode_reward": round(world.reward, 2),
            "episode_length": world.length, "global_step": self.step, "action_name": world.action,
            "location": "Eastern Woods", "room_id": world.room, "position": {"x": round(world.x), "y": round(world.y)},
            "health": {"current": world.hearts, "max": 3},
            "milestones": {"forest_entered": True, "lake_reached": self.flags > 0, "sword_found": self.flags > 2},
            "entities": {"npcs": 1, "enemies": world.room % 4, "items": ["lantern", "key"]},
            "exploration": {"rooms_discovered": len(world.rooms), "grid_areas": 3 + len(world.rooms) // 3},
        }  # fmt: skip

    def _ask(self, world: World, now: int) -> VisionEntry:
        self.calls += 1
        why = {
            "RIGHT": "The path goes on to the right.",
            "LEFT": "Trees block the right side; the left is free.",
            "UP": "An opening between the trees leads up.",
            "DOWN": "The clearing below has not been seen yet.",
        }
        action = world.action if world.action in why else "RIGHT"
        prompt = "One frame of a game. Where should the hero go: UP, DOWN, LEFT or RIGHT? Why, in one sentence?"
        picture = _png(world.draw().resize((320, 288), Image.Resampling.NEAREST))
        extra: dict[str, Any] = {"action": action, "model": "llama-4-scout", "tokens": 180 + self.calls % 40}
        return VisionEntry(picture, now, "image/png", abs(random.gauss(412, 60)), self.step, prompt, why[action], extra)


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
