"""The cost of one call for the training thread: ours beside other trackers, in one run on one machine.

    make bench-publisher        # installs the others into a separate folder, then runs this
    python bench/publisher.py [--peers PYTHON] [--rounds 3] [--only hud,wandb] [--write]

Each tracker runs in a separate process, one after another, round by round, so that a slow moment of the machine meets
all of them. The training thread is busy between the calls (a small matrix product and plain Python), as in training.
Scalars: 10 per call, 50 calls per second. Image: one of 160×144×3 random tiles, 20 per second. Ours publishes into a
real Redis and sends every frame (`HUD_FRAMES=always`); the others write to a temporary folder, without any server.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SCALARS_PER_S, SCALAR_CALLS = 50, 400
IMAGES_PER_S, IMAGE_CALLS = 20, 160
#: No tracker sends data or asks for an account, and the threads of numpy do not compete for the cores.
QUIET = {
    "WANDB_MODE": "offline", "WANDB_SILENT": "true", "HF_HUB_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "False",
    "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1", "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_ALLOW_FILE_STORE": "true", "OPENBLAS_NUM_THREADS": "1",
}  # fmt: skip

LogScalars = Callable[[dict[str, float], int], None]
LogImage = Callable[[Any, int], None]
Tracker = tuple[LogScalars, LogImage, Callable[[], None]]


def hud(folder: str) -> Tracker:
    from hud_publisher import Publisher

    return _hud(Publisher(redis_url=os.environ["BENCH_REDIS_URL"], frames="always", fps=120))


def hud_unwatched(folder: str) -> Tracker:
    """Without a viewer: one frame per second is taken, all others cost a clock read."""
    from hud_publisher import Publisher

    return _hud(Publisher(redis_url=os.environ["BENCH_REDIS_URL"]))


def _hud(publisher: Any) -> Tracker:
    publisher.start()

    def close() -> None:
        publisher.close(10)
        stats = publisher.stats
        assert stats.sent["metrics"] == SCALAR_CALLS, stats
        assert stats.sent["frames"] > IMAGE_CALLS / 25, stats

    return publisher.log, lambda image, step: void(publisher.frame(image, step=step)), close


def bare_queue(folder: str) -> Tracker:
    """The simplest hand-written tracker: a bounded queue and a thread that writes it into a file."""
    waiting: queue.Queue[Any] = queue.Queue(1000)

    def work() -> None:
        with (Path(folder) / "out").open("wb") as out:
            while (item := waiting.get()) is not None:
                out.write(item if isinstance(item, bytes) else json.dumps(item).encode())

    thread = threading.Thread(target=work)
    thread.start()

    def close() -> None:
        waiting.put(None)
        thread.join()

    return (
        (lambda data, step: waiting.put_nowait(dict(data))),
        (lambda image, step: waiting.put_nowait(image.tobytes())),
        close,
    )


def tensorboardx(folder: str) -> Tracker:
    from tensorboardX import SummaryWriter

    writer = SummaryWriter(folder)

    def scalars(data: dict[str, float], step: int) -> None:
        for name, value in data.items():
            writer.add_scalar(name, value, step)

    return scalars, lambda image, step: writer.add_image("frame", image, step, dataformats="HWC"), writer.close


def wandb(folder: str) -> Tracker:
    import wandb

    run = wandb.init(project="bench", mode="offline", dir=folder)
    return (lambda data, step: run.log(data)), (lambda image, step: run.log({"frame": wandb.Image(image)})), run.finish


def trackio(folder: str) -> Tracker:
    os.environ["TRACKIO_DIR"] = folder
    import trackio

    trackio.init(project="bench", embed=False)

    def image(pixels: Any, step: int) -> None:
        trackio.log({"frame": trackio.Image(pixels)})

    return (lambda data, step: trackio.log(data)), image, trackio.finish


def mlflow(folder: str) -> Tracker:
    import mlflow

    mlflow.set_tracking_uri(f"file:{folder}")
    mlflow.set_experiment("bench")
    mlflow.start_run()

    def image(pixels: Any, step: int) -> None:
        mlflow.log_image(pixels, key="frame", step=step, synchronous=False)

    return (lambda data, step: void(mlflow.log_metrics(data, step=step, synchronous=False))), image, mlflow.end_run


def rerun(folder: str) -> Tracker:
    import rerun as rr

    rr.init("bench")
    rr.save(str(Path(folder) / "bench.rrd"))

    def scalars(data: dict[str, float], step: int) -> None:
        rr.set_time("step", sequence=step)
        for name, value in data.items():
            rr.log(name, rr.Scalars(value))

    def image(pixels: Any, step: int) -> None:
        rr.set_time("step", sequence=step)
        rr.log("frame", rr.Image(pixels))

    return scalars, image, rr.disconnect


TRACKERS: dict[str, tuple[Callable[[str], Tracker], str | None]] = {
    "hud": (hud, None),
    "hud unwatched": (hud_unwatched, None),
    "bare queue": (bare_queue, None),
    "tensorboardX": (tensorboardx, "tensorboardX"),
    "trackio": (trackio, "trackio"),
    "mlflow async": (mlflow, "mlflow-skinny"),
    "rerun": (rerun, "rerun-sdk"),
    "wandb offline": (wandb, "wandb"),
}


def void(_value: object) -> None:
    """Drop a result."""


def train(call: Callable[[Any, int], None], make: Callable[[int], Any], calls: int, per_s: int) -> list[float]:
    """Return the duration of each call, in µs, with data from `make`; between the calls the thread is busy."""
    import numpy as np

    weights = np.random.default_rng(1).random((128, 128))
    took, due = [], time.perf_counter()
    for step in range(calls):
        while time.perf_counter() < due:
            weights = weights @ weights
            weights /= weights.max()
            sum(range(200))
        due += 1 / per_s
        data = make(step)
        began = time.perf_counter_ns()
        call(data, step)
        took.append((time.perf_counter_ns() - began) / 1000)
    return took[calls // 10 :]


def measure(name: str) -> None:
    """Print the times of one tracker as JSON; runs in a separate process."""
    import numpy as np

    make, package = TRACKERS[name]
    tiles = np.random.default_rng(1).integers(0, 255, (18, 20, 1, 1, 3), dtype=np.uint8)
    image = np.broadcast_to(tiles, (18, 20, 8, 8, 3)).swapaxes(1, 2).reshape(144, 160, 3).copy()
    names = [f"metric_{number}" for number in range(10)]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        scalars, log_image, close = make(folder)
        costs = {
            "scalars": train(scalars, lambda step: dict.fromkeys(names, step * 0.5), SCALAR_CALLS, SCALARS_PER_S),
            "image": train(log_image, lambda _step: image, IMAGE_CALLS, IMAGES_PER_S),
        }
        began = time.perf_counter()
        close()
        closing_s = time.perf_counter() - began
    version = importlib.metadata.version(package) if package else ""
    print("RESULT " + json.dumps({"version": version, "closing_s": closing_s, **costs}))


def quantile(values: list[float], share: float) -> float:
    """The value below which this share lies."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


@contextlib.contextmanager
def redis_url() -> Iterator[str]:
    """A Redis for this benchmark only."""
    sys.path.insert(0, str(ROOT))
    from tests.fixtures.servers import redis_binary, running

    with tempfile.TemporaryDirectory() as folder, running(redis_binary(), Path(folder)) as server:
        yield server.url


def run(name: str, python: str, url: str) -> dict[str, Any] | None:
    """Measure one tracker in a separate process; None if it cannot run."""
    environment = os.environ | QUIET | {"BENCH_REDIS_URL": url, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as home:
        ended = subprocess.run(
            [python, __file__, "--measure", name], env=environment | {"HOME": home}, cwd=home,
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
    for line in ended.stdout.splitlines():
        if line.startswith("RESULT "):
            result: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
            return result
    print(f"{name}: not measured: {(ended.stderr or ended.stdout).strip().splitlines()[-1:]}", file=sys.stderr)
    return None


def table(results: dict[str, list[dict[str, Any]]]) -> str:
    """The results as Markdown: medians over the rounds."""
    lines = [
        "| tracker | 10 scalars: p50 | p99 | max | image: p50 | p99 | max | close (s) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, rounds in results.items():
        if not rounds:
            continue
        cells = [f"{name} {rounds[0]['version']}".strip()]
        for kind in ("scalars", "image"):
            for share in (0.5, 0.99, 1.0):
                cells.append(f"{median(quantile(one[kind], share) for one in rounds):,.1f}")
        cells.append(f"{median(one['closing_s'] for one in rounds):.2f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def verdict(results: dict[str, list[dict[str, Any]]]) -> str:
    """Return whether ours is lowest, and whether scalars cost at most a tenth of the best of the others."""

    def figure(name: str, kind: str, share: float) -> float:
        return median(quantile(one[kind], share) for one in results[name])

    others = [name for name, rounds in results.items() if rounds and TRACKERS[name][1]]
    if not others or not results.get("hud"):
        return "Criterion: not decided without ours and at least one other tracker."
    lines = ["Criterion: ours is the lowest, for 10 scalars at most a tenth of the best of the other trackers.", ""]
    for kind, most in (("scalars", 0.1), ("image", 1.0)):
        for label, share in (("p50", 0.5), ("p99", 0.99)):
            best = min(others, key=lambda name, kind=kind, share=share: figure(name, kind, share))  # type: ignore[misc]
            ours, theirs = figure("hud", kind, share), figure(best, kind, share)
            says = "holds" if ours <= theirs * most else "does not hold"
            lines.append(
                f"- {kind} {label}: **{says}**, {ours:,.1f} µs beside {theirs:,.1f} of {best} ({ours / theirs:.3f})"
            )
    return "\n".join(lines)


def main() -> None:
    """Measure all trackers and print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--peers", default=sys.executable, help="the Python that has the other trackers")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--only", help="trackers, separated by commas")
    options.add_argument("--write", action="store_true", help="write bench/RESULTS-publisher.md")
    options.add_argument("--measure", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.measure:
        measure(chosen.measure)
        return
    names = chosen.only.split(",") if chosen.only else list(TRACKERS)
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    with redis_url() as url:
        for number in range(chosen.rounds):
            for name in names:
                print(f"round {number + 1}: {name}", file=sys.stderr)
                if result := run(name, chosen.peers, url):
                    results[name].append(result)
    text = f"{table(results)}\n\n{verdict(results)}"
    print(text)
    if chosen.write:
        about = f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"
        about += f", load average {os.getloadavg()[1]:.0f}"
        head = f"# Cost of one call on the training thread, in µs\n\n{(__doc__ or '').strip()}\n\n"
        (ROOT / "bench" / "RESULTS-publisher.md").write_text(
            f"{head}Measured on {about}; medians over {chosen.rounds} rounds.\n\n{text}\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
