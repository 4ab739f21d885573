"""What the documents name exists: variables, commands, make targets, endpoints, links."""

from __future__ import annotations

import re
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest

from hud_publisher.protocol.settings import Settings
from hud_web.cli import _parser
from hud_web.openapi import document

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for path in [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("k8s/**/*.md"),
        *ROOT.glob("examples/**/*.md"),
    ]
)
#: What tests and containers read and no user sets.
OTHER_VARIABLES = re.compile(r"HUD_(FUZZ|FAULT|SOAK|TEST|IMAGE|BENCH)_?\w*")


@pytest.fixture(params=DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def page(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_every_variable_that_is_named_is_a_setting(page: Path) -> None:
    known = {item.metadata["variable"] for item in fields(Settings)}
    named = set(re.findall(r"\bHUD_[A-Z_]*[A-Z]\b", page.read_text()))
    unknown = {name for name in named - known if not OTHER_VARIABLES.fullmatch(name)}
    compose = (ROOT / "docker-compose.yml").read_text() if (ROOT / "docker-compose.yml").exists() else ""
    assert not {name for name in unknown if f"${{{name}" not in compose}


def test_every_command_that_is_named_exists(page: Path) -> None:
    action = next(action for action in _parser()._actions if action.choices)
    commands = set(action.choices or ())
    named = set(re.findall(r"(?:`|^\s*|\$ |&& |exec )hud ([a-z][a-z-]+)", page.read_text(), re.MULTILINE))
    assert named <= commands


def test_every_make_target_that_is_named_exists(page: Path) -> None:
    makefiles = [ROOT / "Makefile", *ROOT.glob("*/*.mk"), *ROOT.glob("*/*/*.mk")]
    targets = {
        name for path in makefiles for name in re.findall(r"^([a-z][a-z0-9-]*):", path.read_text(), re.MULTILINE)
    }
    named = set(re.findall(r"(?:`|^\s*|; |&& )make ([a-z][a-z0-9-]+)", page.read_text(), re.MULTILINE))
    assert named <= targets


def test_every_endpoint_that_is_named_is_served(page: Path) -> None:
    served = {re.sub(r"\{\w+\}", "{}", path) for path in document()["paths"]}
    named = {
        re.sub(r"\{\w+\}|<\w+>", "{}", path) for path in re.findall(r"/api/[a-z_]+(?:/[{<]\w+[}>])?", page.read_text())
    }
    assert named <= served


def test_every_link_leads_somewhere(page: Path) -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if "://" in target:
            continue
        path = (page.parent / target).resolve()
        assert path.exists(), f"{page.name} links to {target}"
        assert path.is_dir() or not tracked or str(path.relative_to(ROOT)) in tracked, f"{target} is not committed"


def test_every_setting_is_documented() -> None:
    text = (ROOT / "docs/settings.md").read_text()
    for item in fields(Settings):
        assert f"`{item.metadata['variable']}`" in text


def test_the_page_of_the_protocol_names_every_event() -> None:
    text = (ROOT / "docs/protocol.md").read_text()
    sources = "".join(path.read_text() for path in (ROOT / "hud_web").glob("*.py"))
    for name in set(re.findall(r"\bevent\(\s*\"(\w+)\"", sources)):
        assert f"`{name}`" in text
