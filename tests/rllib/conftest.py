"""One Ray, one Redis and one web tier per process of tests; each test has a separate display, read over a socket."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.servers import Server, redis_binary, running
from tests.fixtures.web import SseClient, WebServer

ROOT = Path(__file__).parents[2]
QUIET = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",  # by default env runners yield to everything else on the machine
    "RAY_prestart_worker_first_driver": "0",  # not one idle process per logical CPU
    "PYTHONWARNINGS": "ignore",
    "SDL_AUDIODRIVER": "dummy",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """We cannot fix the warnings of Ray, torch and Gymnasium, and Ray starts slowly under load."""
    for item in items:
        if Path(item.path).is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.filterwarnings("ignore"))
            item.add_marker(pytest.mark.timeout(400))


def start_ray(*, num_cpus: int) -> None:
    """Start Ray here; its processes have 30 s to start, which a machine under load may exceed."""
    import ray

    for attempts_left in (2, 1, 0):
        try:
            ray.init(
                num_cpus=num_cpus, include_dashboard=False, log_to_driver=False, object_store_memory=150 * 1024 * 1024
            )
        except Exception:
            ray.shutdown()
            if not attempts_left:
                raise
        else:
            return


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Ray with more logical CPUs than the machine has: small runs wait most of the time."""
    import ray
    import torch
    from ray.tune.trainable import trainable

    # As Ray sets it in its workers: threads that wait for each other spin, which takes minutes on a machine under load.
    torch.set_num_threads(1)
    trainable.DEFAULT_STORAGE_PATH = str(tmp_path_factory.mktemp("results"))
    before = dict(os.environ)
    # Env runners are separate processes: they import the environments of the tests from here.
    os.environ |= QUIET | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])}
    start_ray(num_cpus=16)
    yield
    ray.shutdown()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # ray does not wait for the processes that it ended
        gc.collect()
    os.environ.clear()
    os.environ |= before


@dataclass(frozen=True)
class Hud:
    """A web tier and its Redis."""

    web: WebServer
    redis: Server


@pytest.fixture(scope="session")
def hud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hud]:
    """One for every run of the session."""
    with running(redis_binary(), tmp_path_factory.mktemp("redis")) as redis:
        web = WebServer(redis.url)
        yield Hud(web, redis)
        web.close()


class Display:
    """One channel, and the events that a page of this channel receives."""

    def __init__(self, hud: Hud, channel: str) -> None:
        self.hud = hud
        self.channel = channel
        self.stream = SseClient(f"{hud.web.url}/stream?channel={channel}")

    def callbacks(self, **options: Any) -> Any:
        """The value that a user passes to `config.callbacks`."""
        from rllib_integration import HudCallbacks

        return functools.partial(HudCallbacks, **({"channel": self.channel, "redis_url": self.hud.redis.url} | options))

    def updates(self, *fields: str, stream: str = "metrics", writer: str = "") -> list[dict[str, Any]]:
        """The training updates of one stream that have all of these fields."""
        return [
            data
            for data in self.stream.named("training_update")
            if data["_hud"]["stream"] == stream
            and data["_hud"]["writer"].startswith(writer)
            and all(field in data for field in fields)
        ]

    def frames(self, env: list[int] | None = None) -> list[dict[str, Any]]:
        """The live frames, of one env or of any."""
        frames = [data for data in self.stream.named("vision_update") if data["source"] == "env"]
        return frames if env is None else [frame for frame in frames if frame["env"] == env]

    def thumbnail_envs(self) -> set[tuple[int, int]]:
        """The envs that have sent a thumbnail."""
        return {tuple(data["env"]) for data in self.stream.named("thumbnail")}

    def sessions(self) -> list[dict[str, Any]]:
        """The events about the session, in order."""
        return self.stream.named("session")

    def wait(self, condition: Any, what: str, timeout_s: float = 60.0) -> Any:
        return self.stream.wait(lambda _stream: condition(self), what, timeout_s)

    def wait_for_end(self) -> None:
        self.wait(lambda display: display.sessions()[-1]["status"] == "ended", "the end of the session")


@pytest.fixture
def displays(hud: Hud, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Open displays by name; without one, the test's own."""
    with contextlib.ExitStack() as opened:

        def open_display(channel: str | None = None) -> Display:
            name = channel or re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[-60:].strip("-")
            display = Display(hud, name)
            opened.callback(display.stream.close)
            return display

        yield open_display


@pytest.fixture
def display(displays: Any) -> Display:
    """The test's own display."""
    return displays()


@pytest.fixture
def no_errors_of_ours() -> Iterator[None]:
    """HUD caught no internal error during the test, except for environments without a picture."""
    from rllib_integration.guard import quiet

    before = Counter(quiet.causes)
    yield
    assert not [cause for cause in quiet.causes - before if cause[0] != "render"]


def small(config: Any) -> Any:
    """Make an algorithm's configuration as small as it can be."""
    return config.rl_module(model_config={"fcnet_hiddens": [8]}).debugging(log_level="ERROR", seed=1)


@contextlib.contextmanager
def running_algorithm(config: Any) -> Iterator[Any]:
    """Build, and stop at the end."""
    algorithm = config.build_algo()
    try:
        yield algorithm
    finally:
        algorithm.stop()
