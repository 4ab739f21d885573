"""A Docker engine for these tests, in separate namespaces: it can reach nothing and leaves nothing behind.

`make test-engine` starts pytest in new network, mount and process namespaces, with loopback only. If they are
missing, the tests fail with the reason; they never skip.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
MADE = ROOT / ".make" / "deploy"
TOOLS = ROOT / ".make" / "tools" / "bin"
IMAGE = "rl-hud:0.1.0"
BASE = "hud-test-base:local"
#: A user id such as OpenShift assigns; no image knows it.
ANY_UID = "1000660000"

pytest_plugins = ["tests.fixtures.browser"]


class Engine:
    """A running dockerd, and the docker and docker-compose clients for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "docker.sock"
        self.environment = os.environ | {"DOCKER_HOST": f"unix://{self.socket}", "DOCKER_BUILDKIT": "0"}
        self.environment["DOCKER_CONFIG"] = str(folder)
        self.storage_driver = _storage_driver(folder)
        self._log = (folder / "dockerd.log").open("w")
        self._process = subprocess.Popen(
            [
                "dockerd", "--data-root", str(folder / "data"), "--exec-root", str(folder / "exec"),
                "--pidfile", str(folder / "pid"), "--host", f"unix://{self.socket}", "--ip", "127.0.0.1",
                "--storage-driver", self.storage_driver,
            ],
            stdout=self._log, stderr=self._log,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while subprocess.run(["docker", "info"], env=self.environment, capture_output=True).returncode:
            if self._process.poll() is not None or time.monotonic() > deadline:
                words = (folder / "dockerd.log").read_text()[-1500:]
                pytest.fail(f"expected dockerd to start here, got: {words}", pytrace=False)
            time.sleep(0.2)

    def docker(self, *arguments: str, stdin: Any = None, timeout_s: float = 120) -> str:
        """Run docker and return its output; fail with its error text."""
        return self._run(["docker", *arguments], stdin=stdin, timeout_s=timeout_s)

    def compose(self, *arguments: str, environment: dict[str, str], timeout_s: float = 120) -> str:
        """Run docker-compose on the repository's file."""
        command = [str(TOOLS / "docker-compose"), "--project-directory", str(ROOT), *arguments]
        return self._run(command, environment=environment, timeout_s=timeout_s)

    def inspect(self, name: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(self.docker("inspect", name))
        return found[0]

    def pid(self, container: str) -> int:
        return int(self.inspect(container)["State"]["Pid"])

    def _run(
        self, command: list[str], *, stdin: Any = None, environment: dict[str, str] | None = None, timeout_s: float
    ) -> str:
        done = subprocess.run(
            command, env=self.environment | (environment or {}), stdin=stdin, capture_output=True, text=True,
            timeout=timeout_s, cwd=ROOT,
        )  # fmt: skip
        assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._log.close()


def _storage_driver(folder: Path) -> str:
    """overlay2 where the kernel allows it here (a tenth of the time and room), else vfs."""
    layers = [folder / name for name in ("lower", "upper", "work", "merged")]
    for layer in layers:
        layer.mkdir()
    options = f"lowerdir={layers[0]},upperdir={layers[1]},workdir={layers[2]}"
    if subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, layers[3]], capture_output=True).returncode:
        return "vfs"
    subprocess.run(["umount", layers[3]], check=True)
    return "overlay2"


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    routes = subprocess.run(["ip", "route", "show", "default"], capture_output=True, text=True).stdout
    if os.geteuid() != 0 or routes.strip() or not (MADE / "base.tar").exists():
        pytest.fail("expected root, a network namespace of our own, and a base image: run `make test-engine`", False)
    folder = tmp_path_factory.mktemp("engine")
    engine = Engine(folder)
    yield engine
    engine.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def image(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image of the Dockerfile, built on a base made here, from wheels fetched before: nothing is pulled."""
    with (MADE / "base.tar").open("rb") as base:
        engine.docker("import", "-", BASE, stdin=base)
    context = tmp_path_factory.mktemp("context")
    for name in ("hud_publisher", "hud_web", "rllib_integration"):
        shutil.copytree(ROOT / name, context / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "Dockerfile", ".dockerignore"):
        shutil.copy(ROOT / name, context)
    (context / "requirements").mkdir()
    shutil.copy(ROOT / "requirements/web.txt", context / "requirements")
    shutil.copytree(MADE / "wheelhouse", context / "wheelhouse")
    arguments = {"BASE": BASE, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/src/wheelhouse"}
    options = [part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")]
    engine.docker("build", "--network", "none", *options, "--tag", IMAGE, str(context), timeout_s=300)
    return IMAGE
