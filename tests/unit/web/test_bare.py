"""The command and its modules without some packages, or on another operating system."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
BARE = Path(__file__).with_name("bare.py")
#: Nothing listens there: port 9 is below those that unprivileged programs use.
NOBODY = "http://127.0.0.1:9"
#: Adapters that are imported beside their framework only.
FRAMEWORKS = {f"hud_publisher.integrations.{name}" for name in ("gym", "sb3", "sb3_policy")}
MODULES = sorted(
    {
        f"{path.parent.relative_to(ROOT).as_posix().replace('/', '.')}.{path.stem}".removesuffix(".__init__")
        for folder in ("hud_publisher", "hud_web")
        for path in (ROOT / folder).rglob("*.py")
        if path.stem != "__main__"
    }
    - FRAMEWORKS
)


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HUD_", "REDIS_"))}
    return subprocess.run(
        [sys.executable, str(BARE), *arguments],
        env=inherited | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("command", ["status", "sessions", "channels", "reset", "export"])
def test_a_command_that_asks_runs_with_the_base_install(command: str) -> None:
    done = run("base", command, "--url", NOBODY)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "no HUD server answers at http://127.0.0.1:9" in done.stderr


def test_the_doctor_runs_with_the_base_install() -> None:
    done = run("base", "doctor", "--url", NOBODY, "--redis-url", "redis://127.0.0.1:9/0", "--listen", "0")
    assert (done.returncode, done.stderr) == (1, ""), done.stderr
    assert "no program listens at redis://127.0.0.1:9/0" in done.stdout
    assert "no program listens at 127.0.0.1 port 9" in done.stdout


def test_the_version_and_the_help_need_no_extra() -> None:
    version, helped = run("base", "--version"), run("base", "--help")
    assert (version.returncode, version.stdout.startswith("rl-hud ")) == (0, True), version.stderr
    assert (helped.returncode, "doctor" in helped.stdout) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("up", "--port", "0"), "pip install 'rl-hud[web,embedded]'"),
        (("serve", "--port", "0", "--redis-url", "redis://127.0.0.1:9/0"), "pip install 'rl-hud[web,embedded]'"),
        (("demo", "--port", "0"), "pip install 'rl-hud[all]'"),
    ],
)
def test_a_command_that_needs_an_extra_names_it_in_one_line(arguments: tuple[str, ...], extra: str) -> None:
    done = run("base", *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert extra in done.stderr


@pytest.mark.parametrize("system", ["windows", "macos"])
def test_every_module_is_imported_on_other_systems_and_a_command_runs(system: str) -> None:
    done = run(system, *MODULES)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "no HUD server" in done.stderr


def test_the_command_has_a_second_name_that_no_other_project_owns() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts["rl-hud"] == scripts["hud"] == "hud_web.cli:main"
