"""The image, built by a real engine: small, and able to run as any user on a read-only root."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import pytest

from tests.deploy.engine.conftest import ANY_UID, BASE, Engine
from tests.fixtures.web import poll

HARDENED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", f"{ANY_UID}:0")
Start = Callable[..., str]


@pytest.fixture
def start(engine: Engine, image: str) -> Iterator[Start]:
    started: list[str] = []

    def run(*options: str) -> str:
        started.append(engine.docker("run", "--detach", *HARDENED, *options, image).strip())
        return started[-1]

    yield run
    for container in started:
        engine.docker("rm", "--force", container)


def test_it_is_less_than_60_mb_above_its_base(engine: Engine, image: str) -> None:
    sizes = [json.loads(engine.docker("image", "inspect", name))[0]["Size"] for name in (image, BASE)]
    print(f"{(sizes[0] - sizes[1]) / 1e6:.1f} MB above a base of {sizes[1] / 1e6:.1f} MB")
    assert sizes[0] - sizes[1] < 60_000_000


def test_it_serves_and_is_healthy_without_redis_as_any_user_on_a_read_only_root(engine: Engine, start: Start) -> None:
    container = start(
        "--env", "REDIS_URL=redis://nobody:6379/0", "--env", "HUD_INSECURE=1", "--health-interval", "1s"
    )  # fmt: skip
    poll(lambda: engine.inspect(container)["State"]["Health"]["Status"] == "healthy", "its health", 60)
    with pytest.raises(AssertionError, match="Read-only"):
        engine.docker("exec", container, "touch", "/opt/hud/x")
    assert engine.docker("exec", container, "id", "-u").strip() == ANY_UID


def test_its_health_check_fails_when_nothing_answers(engine: Engine, image: str) -> None:
    check = json.loads(engine.docker("image", "inspect", image))[0]["Config"]["Healthcheck"]["Test"]
    with pytest.raises(AssertionError, match="refused"):
        engine.docker("run", "--rm", "--entrypoint", check[1], image, *check[2:])


def test_it_stops_within_the_grace_period_by_itself(engine: Engine, start: Start) -> None:
    container = start("--env", "REDIS_URL=redis://nobody:6379/0", "--env", "HUD_INSECURE=1")
    poll(lambda: "HUD" in engine.docker("logs", container), "it to start")
    began = time.monotonic()
    engine.docker("stop", "--time", "30", container)
    assert time.monotonic() - began < 15
    assert engine.inspect(container)["State"]["ExitCode"] == 0


def test_it_names_a_missing_setting(engine: Engine, image: str) -> None:
    with pytest.raises(AssertionError, match="REDIS_URL is not set"):
        engine.docker("run", "--rm", *HARDENED, "--env", "HUD_INSECURE=1", image)


def test_it_does_not_let_the_network_write_unasked(engine: Engine, image: str) -> None:
    with pytest.raises(AssertionError, match="HUD_HOST: without a token"):
        engine.docker("run", "--rm", *HARDENED, "--env", "REDIS_URL=redis://nobody:6379/0", image)


def test_it_holds_neither_pip_nor_sources(engine: Engine, image: str) -> None:
    command = ("run", "--rm", "--user", "0", "--entrypoint", "find", image, "/", "-xdev")
    assert engine.docker(*command, "-path", "/opt/hud/*", "-name", "pip", "-type", "d") == ""
    assert engine.docker(*command, "-name", "wheelhouse", "-o", "-path", "/src/*") == ""


def test_nothing_in_it_is_writable_for_its_user(engine: Engine, image: str) -> None:
    found = engine.docker(
        "run", "--rm", "--user", f"{ANY_UID}:0", "--entrypoint", "find", image,
        "/opt/hud", "-writable", "-not", "-type", "l",
    )  # fmt: skip
    assert found == ""
