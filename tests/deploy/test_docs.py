"""The documentation of the deployment, held against the code."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from hud_web.cli import _parser
from hud_web.settings import WebSettings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = ("operations", "kubernetes", "openshift", "troubleshooting", "settings", "migration")


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text()


def rows(name: str) -> dict[str, str]:
    """Variable → default, as the tables of settings.md have them."""
    return dict(re.findall(r"^\| `([A-Z_]+)` \| (.+?) \|", page(name), re.M))


def test_every_setting_is_documented_with_its_default() -> None:
    documented = rows("settings")
    assert sorted(documented) == sorted(item.metadata["variable"] for item in fields(WebSettings))
    for item in fields(WebSettings):
        told = documented[item.metadata["variable"]].strip("`")
        default = getattr(WebSettings(), item.name)
        if default is None or default == ():
            # A setting without a default value may fall back to something that only words describe.
            assert told == "none" or documented[item.metadata["variable"]] == told, item.name
        else:
            text = ",".join(default) if isinstance(default, tuple) else told
            read = WebSettings.from_env({item.metadata["variable"]: text})
            assert getattr(read, item.name) == default, item.name
            assert told == text, item.name


@pytest.mark.parametrize("heading", ["HUD not updating", "Cannot open the page", "Training job cannot connect"])
def test_the_troubleshooting_page_has_every_heading_of_the_old_one(heading: str) -> None:
    assert f"\n## {heading}\n" in page("troubleshooting")


def test_every_variable_of_the_compose_file_is_documented() -> None:
    used = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text()))
    assert used
    assert used <= set(re.findall(r"[A-Z][A-Z_]+", page("operations")))


def test_every_metric_is_documented_and_no_other() -> None:
    made = set(re.findall(r'_gauge\(\s*"(hud_\w+)"', source("api/metrics")))
    made |= {f"{name}_total" for name in re.findall(r'_counter\(\s*"(hud_\w+)"', source("api/metrics"))}
    made |= set(re.findall(r'_histogram\(\s*"(hud_\w+)"', source("api/metrics")))
    assert len(made) > 8
    assert set(re.findall(r"`(hud_\w+)", page("operations"))) == made


def source(name: str) -> str:
    return (ROOT / f"hud_web/{name}.py").read_text()


@pytest.mark.parametrize("name", PAGES)
def test_commands_options_and_files_that_a_page_names_exist(name: str) -> None:
    text = page(name)
    (commands,) = [action.choices for action in _parser()._actions if isinstance(action.choices, dict)]
    for command, rest in re.findall(r"(?<![\w/.\-])hud (up|serve|demo|[a-z]+)((?: [^\n`#]*)?)", _code(text)):
        assert command in commands, f"hud {command}"
        known = {option for action in commands[command]._actions for option in action.option_strings}
        assert set(re.findall(r"--[a-z\-]+", rest)) <= known, f"hud {command}{rest}"
    makefiles = (ROOT / "Makefile").read_text() + (ROOT / "deploy/deploy.mk").read_text()
    for target in re.findall(r"`make ([a-z\-]+)`", text):
        assert re.search(rf"^{target}:", makefiles, re.M), target
    made = re.findall(r"^(?:mkdir -p |cat >)(\S+)", text, re.M)
    for path in re.findall(r"\b((?:k8s|examples|tests|deploy)/[\w./\-]*[\w])", text):
        assert (ROOT / path).exists() or path in made, path
    for path in re.findall(r"`(components/[\w\-]+)`", text):
        assert (ROOT / "k8s" / path / "kustomization.yaml").exists(), path


def _code(text: str) -> str:
    """The contents of code spans and indented blocks, one per line."""
    spans = re.findall(r"`([^`\n]+)`", text)
    blocks = [line for line in text.splitlines() if line.startswith("    ")]
    return "\n".join([*spans, *blocks])


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page(name)):
        file, _, anchor = target.partition("#")
        file = file or f"{name}.md"
        assert (DOCS / file).exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", (DOCS / file).read_text(), re.M)
            assert anchor in {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_names_in_the_pages_are_those_of_the_manifests() -> None:
    manifests = (ROOT / "k8s/hud-deployment.yaml").read_text()
    known = set(re.findall(r"^  name: ([\w\-]+)$", manifests, re.M)) | {"zelda-hud-access", "zelda-hud-login"}
    for name in PAGES:
        for used in re.findall(r"\b(?:deployment/|statefulset/|svc |route |service/)(zelda-hud[\w\-]*)", page(name)):
            assert used in known, used
