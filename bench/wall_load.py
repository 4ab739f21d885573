"""Many live runs for the wall: one process that writes them through the protocol's own scripts.

    python -m bench.wall_load REDIS_URL --runs 200 --seconds 60

Each run has a channel of its own (`wall-001` …), logs 10 entries per second, and stores one frame per second of about
8 KB, as a publisher does that nobody watches. It prints a line once all runs are registered. `running_load` starts it
for a bench or a test.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import redis
from PIL import Image, ImageDraw

from hud_publisher.protocol import replies, scripts
from hud_publisher.protocol.batch import Batch
from hud_publisher.protocol.configuration import encode_sections
from hud_publisher.protocol.entries import Entry, FrameEntry, Limits, MetricsEntry
from hud_publisher.protocol.keys import SessionId
from hud_publisher.protocol.scripts import ScriptCall
from hud_publisher.protocol.values import Json

ROOT = Path(__file__).resolve().parents[1]
LIMITS = Limits()
ENVS = ("ALE/Breakout-v5", "ALE/Pong-v5", "CartPole-v1", "LunarLander-v3", "HalfCheetah-v5", "Humanoid-v5")
ALGORITHMS = ("PPO", "DQN", "SAC", "IMPALA")
#: A publisher's batch holds the entries of half a second at most.
BATCHES_PER_S = 2
#: Pictures of one run that take turns.
PICTURES = 12
TOUCH_S = 30.0


@dataclass
class LoadedRun:
    """One run.

    Attributes:
        session_id: of its session.
        number: of the run, from 0.
        batches: sent until now.
        step: env steps until now.
        due_s: time of its next batch.
    """

    session_id: SessionId
    number: int
    batches: int = 0
    step: int = 0
    due_s: float = 0.0
    draw: random.Random = field(default_factory=random.Random)

    def entries(self, per_batch: int) -> list[Entry]:
        """The entries of half a second."""
        found: list[Entry] = []
        now_ms = int(time.time() * 1000)
        for _ in range(per_batch):
            self.step += 37 + self.number
            course = 1 - math.exp(-self.step / 20_000)
            value = 40 * course + 6 * math.sin(self.step / 3_000 + self.number) + self.draw.gauss(0, 2)
            data: dict[str, Json] = {
                "episode_return_mean": value, "episode_len_mean": 200 + 50 * course, "num_env_steps_sampled": self.step,
                "learner": {"policy_loss": self.draw.gauss(0, 0.1), "entropy": 1.2 - course, "kl": 0.01},
            }  # fmt: skip
            found.append(MetricsEntry(data, now_ms, self.step))
        return found


def pictures(number: int, size: int = 8_000) -> list[bytes]:
    """JPEGs of about `size` bytes, each slightly different: a field of bricks with a ball."""
    draw_of = random.Random(number)
    hue = number * 37 % 256
    base = Image.effect_noise((210, 160), 24).convert("L")
    found = []
    for at in range(PICTURES):
        picture = Image.merge("HSV", (Image.new("L", base.size, hue), Image.new("L", base.size, 150), base)).convert(
            "RGB"
        )
        draw = ImageDraw.Draw(picture)
        for row in range(4):
            for column in range(14):
                if draw_of.random() < 0.8:
                    colour = ((hue * 3 + row * 50) % 256, 90 + row * 30, 200 - row * 30)
                    draw.rectangle((column * 15, 20 + row * 10, column * 15 + 12, 27 + row * 10), fill=colour)
        draw.ellipse((10 + at * 15, 90 + 8 * (at % 5), 20 + at * 15, 100 + 8 * (at % 5)), fill="white")
        quality, data = 90, b""
        while quality >= 30:
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG", quality=quality)
            data = buffer.getvalue()
            if len(data) <= size:
                break
            quality -= 10
        found.append(data)
    return found


class Writer:
    """Writes all runs."""

    def __init__(self, redis_url: str, runs: int, *, entries_per_s: int, frame_bytes: int) -> None:
        self._client = redis.Redis.from_url(redis_url, protocol=2)
        self._per_batch = max(1, entries_per_s // BATCHES_PER_S)
        self._pictures = [pictures(number, frame_bytes) for number in range(min(runs, 12))]
        for name in ("register", "publish", "describe", "touch", "release"):
            self._client.script_load(scripts.load_script(name).source)
        self._touched_s = time.monotonic()
        self.runs = [self._register(number) for number in range(runs)]
        began_s = time.monotonic()
        for run in self.runs:  # spread evenly, as the phases of real runs are
            run.due_s = began_s + run.number / max(1, runs) / BATCHES_PER_S

    def _register(self, number: int) -> LoadedRun:
        channel = channel_of(number)
        info = {"env": ENVS[number % len(ENVS)], "algorithm": ALGORITHMS[number % len(ALGORITHMS)]}
        name = f"{info['algorithm'].lower()}-{info['env'].split('/')[-1].lower()}-{number:03}"
        call = scripts.register(channel, run_id=f"wall {number}", name=name, info=info, limits=LIMITS)
        session_id = replies.parse_register(self._run(call)).session_id
        config = {"lr": 10 ** -(3 + number % 3), "gamma": 0.99, "seed": number, "model": {"hidden": 64 << number % 3}}
        self._run(scripts.describe(session_id, encode_sections({"config": config}), LIMITS))
        self._run(scripts.touch(channel, LIMITS))
        return LoadedRun(session_id, number, draw=random.Random(number))

    def _run(self, call: ScriptCall) -> list[object]:
        reply: list[object] = self._client.evalsha(call.script.sha, len(call.keys), *call.keys, *call.args)
        return reply

    def write(self, now_s: float) -> float:
        """Write the batches that are due; return when the next one is."""
        due = [run for run in self.runs if run.due_s <= now_s]
        pipe = self._client.pipeline(transaction=False)
        for run in due:
            run.batches += 1
            run.due_s += 1 / BATCHES_PER_S
            entries = run.entries(self._per_batch)
            if run.batches % BATCHES_PER_S == 0:
                kept = self._pictures[run.number % len(self._pictures)]
                image = kept[run.batches // BATCHES_PER_S % PICTURES]
                entries.append(FrameEntry(image, int(time.time() * 1000), step=run.step, env=(1, 0)))
            call = scripts.publish(run.session_id, Batch("load", run.batches, tuple(entries)), LIMITS)
            pipe.evalsha(call.script.sha, len(call.keys), *call.keys, *call.args)
        if now_s - self._touched_s > TOUCH_S:
            self._touched_s = now_s
            for run in self.runs:
                call = scripts.touch(channel_of(run.number), LIMITS)
                pipe.evalsha(call.script.sha, len(call.keys), *call.keys, *call.args)
        pipe.execute()
        return min(run.due_s for run in self.runs)

    def close(self) -> None:
        """Release all sessions."""
        for run in self.runs:
            self._run(scripts.release(run.session_id))
        self._client.close()


def channel_of(number: int) -> str:
    """The channel of a run."""
    return f"wall-{number + 1:03}"


@contextlib.contextmanager
def running_load(
    redis_url: str, runs: int, *, entries_per_s: int = 10, frame_bytes: int = 8_000, seconds: float = 3600.0
) -> Iterator[subprocess.Popen[str]]:
    """Write runs from a process of its own during a `with` block; entered once all runs are registered."""
    command = [
        sys.executable, "-m", "bench.wall_load", redis_url, "--runs", str(runs), "--entries", str(entries_per_s),
        "--frame-bytes", str(frame_bytes), "--seconds", str(seconds),
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise RuntimeError("the load did not start")
        yield process
    finally:
        process.terminate()
        process.wait(20.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("redis_url")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--entries", type=int, default=10, help="per second and run")
    parser.add_argument("--frame-bytes", type=int, default=8_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    writer = Writer(given.redis_url, given.runs, entries_per_s=given.entries, frame_bytes=given.frame_bytes)
    print(f"{given.runs} runs write", flush=True)
    ends_s = time.monotonic() + given.seconds
    try:
        while (now_s := time.monotonic()) < ends_s:
            # Batches within 20 ms go together, which costs this process less and each run no rate.
            time.sleep(max(0.02, writer.write(now_s) - time.monotonic()))
    finally:
        writer.close()


if __name__ == "__main__":
    main()
