"""Everything that the documents name exists: variables, commands, make targets, endpoints, links."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest

from hud_publisher import Publisher
from hud_publisher.protocol.entries import STREAMS
from hud_publisher.protocol.keys import ALERTS, CHANGES, CHANNELS, PAGE, ChannelKeys, SessionKeys
from hud_publisher.protocol.scripts import DOWNSAMPLED
from hud_publisher.protocol.settings import RETIRED, Settings
from hud_web.cli import _parser
from hud_web.settings import WebSettings
from tests.fixtures.openapi import document, resolved

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
#: Variables that tests and containers read and no user sets.
OTHER_VARIABLES = re.compile(r"HUD_(FUZZ|FAULT|SOAK|TEST|IMAGE|BENCH)_?\w*")


@pytest.fixture(params=DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def page(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_every_variable_that_is_named_is_a_setting(page: Path) -> None:
    known = {item.metadata["variable"] for item in fields(WebSettings)} | set(RETIRED)
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
        re.sub(r"\{\w+\}|<\w+>", "{}", path)
        for path in re.findall(r"(?<!hud_web)/api/[a-z_]+(?:/[{<]\w+[}>])?", page.read_text())
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
    for item in fields(WebSettings):
        assert f"`{item.metadata['variable']}`" in text


def test_every_decision_is_a_dated_record_in_the_index() -> None:
    folder = ROOT / "docs/decisions"
    rows = re.findall(r"^\| ([\d-]{10}) \| \[.+\]\((.+)\) \|$", (folder / "README.md").read_text(), re.MULTILINE)
    records = []
    for path in folder.glob("*.md"):
        if path.name != "README.md":
            text = path.read_text()
            records += [(date, path.name) for date in re.findall(r"^Date: ([\d-]{10})$", text, re.MULTILINE)]
            assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"], path.name
    assert sorted(rows) == sorted(records)
    assert len(records) == len(list(folder.glob("*.md"))) - 1


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_every_file_that_a_page_for_contributors_names_exists(name: str) -> None:
    paths = re.findall(
        r"`((?:hud_publisher|hud_web|rllib_integration|tests|docs|bench)/[^`]*)`", (ROOT / name).read_text()
    )
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize(
    "change",
    [
        "a field of the session event",
        "how often frames are sent",
        "an endpoint",
        "a tile",
        "a role's field name",
        "an annotation kind",
        "a setting",
    ],
)
def test_contributors_find_the_files_and_names_of_a_change(change: str) -> None:
    [files] = [row[1] for row in table("CONTRIBUTING.md", "Where do I change …") if row[0] == change]
    places = re.findall(r"`([^`]+)` \(`([^`]+)`\)", files)
    assert len(places) == files.count("(`") > 0
    for path, name in places:
        assert re.search(rf"\b{re.escape(name)}\b", (ROOT / path).read_text()), f"{path} has no {name}"


def table(page: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading, without its head."""
    section = (ROOT / page).read_text().split(f"\n## {heading}", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_the_page_of_the_protocol_names_each_event_and_no_other() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "hud_web").rglob("*.py"))
    sent = set(re.findall(r"(?:\bevent\(\s*|return )\"(\w+)\", ", sources))
    documented = {name for row in table("docs/protocol.md", "Server-Sent Events") for name in code(row[0])}
    assert documented == sent


def test_the_page_of_the_protocol_names_each_key_and_no_other() -> None:
    def names(keys: ChannelKeys | SessionKeys) -> set[str]:
        return {key for name, key in vars(keys).items() if name not in ("channel", "session_prefix")}

    channel = ChannelKeys("CH")
    session = channel.session("SID")
    made = {CHANNELS, CHANGES, ALERTS, PAGE, channel.aside("RUN")} | names(channel) | names(session)
    made |= {session.stream(name) for name in STREAMS}
    made |= {key for name in DOWNSAMPLED for key in (session.past(name), session.piece(name))}
    assert {name for row in table("docs/protocol.md", "Redis keys") for name in code(row[0])} == made


def test_the_page_of_the_protocol_names_each_endpoint_with_its_parameters_and_no_other() -> None:
    expected = {}
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            names = [one["name"] for one in map(resolved, operation["parameters"]) if one["in"] == "query"]
            for schema in operation.get("requestBody", {}).get("content", {}).values():
                names += schema["schema"].get("properties", {})
            expected[path, method.upper()] = set(names)
    rows = table("docs/protocol.md", "HTTP endpoints")
    documented = {(code(row[0])[0], row[1]): set(code(row[2])) for row in rows}
    documented["/api/publish", "POST"] -= {"hud_publisher/protocol/batch_body.py"}
    assert documented == expected


def test_the_page_of_the_publisher_names_each_argument_and_no_other() -> None:
    parameters = inspect.signature(Publisher).parameters.values()
    signature = [f"**{item.name}" if item.kind is item.VAR_KEYWORD else item.name for item in parameters]
    assert [code(row[0])[0] for row in table("docs/publisher.md", "Arguments")] == signature


def test_the_page_of_rllib_names_each_argument_of_the_callbacks() -> None:
    tree = ast.parse((ROOT / "rllib_integration/callbacks.py").read_text())
    [init] = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "__init__"]
    documented = {name for row in table("docs/rllib.md", "Arguments") for name in code(row[0])}
    settings = {item.name for item in fields(Settings)}
    named = {argument.arg for argument in init.args.kwonlyargs}
    assert named <= documented <= named | settings


def test_every_page_and_every_example_is_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or not page.exists():
            continue
        seen.add(page)
        if page.suffix == ".md":
            waiting += [(page.parent / target).resolve() for target in re.findall(r"\]\(([^)#\s]+)", page.read_text())]
    pages = {*ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.ipynb"), *ROOT.glob("examples/*.py")}
    parts = {
        ROOT / "examples/game_boy_rom.py",
        ROOT / "examples/synthetic_run.py",
    }  # of game_boy.py, of the compose file
    assert pages - parts <= seen
