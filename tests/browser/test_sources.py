"""What every file of the page keeps to; no browser is needed to see it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import hud_web
from hud_web.page_files import strip_comments

STATIC = Path(hud_web.__file__).parent / "static"
MODULES = sorted((STATIC / "js").glob("*.js"))
#: Ways in which text from a run could become markup or code.
FORBIDDEN = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|DOMParser|\beval\(|new Function"
)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_a_module_is_checked_documented_and_makes_no_markup_of_text(module: Path) -> None:
    text = module.read_text(encoding="utf-8")
    assert text.startswith("// @ts-check\n/**"), "its types are checked, and its first lines say what it owns"
    assert not FORBIDDEN.search(text)
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    for address in re.findall(r"(?:from|import\() ?\"(\.[^\"]+)\"", text):
        assert (module.parent / address).resolve().is_file(), address
    for name in re.findall(r"loadSheet\(\"(\w+)\"\)", text):
        assert (STATIC / "css" / f"{name}.css").is_file(), name


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_a_browser_gets_a_modules_code_line_by_line_and_none_of_its_comments(module: Path) -> None:
    source, served = module.read_text(encoding="utf-8"), strip_comments(module.read_bytes()).decode("utf-8")
    assert "/*" not in served
    for line, kept in zip(source.split("\n"), served.split("\n"), strict=True):
        assert line.count("`") % 2 == 0, "a string over several lines could look like a comment"
        if "*" not in line and "//" not in line:
            assert kept == line.strip(" ")


def test_the_page_has_no_script_and_no_style_of_its_own_and_names_files_that_are_there() -> None:
    text = (STATIC / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", text)
    for address in re.findall(r"(?:src|href)=\"/static/([^\"]+)\"", text):
        assert (STATIC / address).is_file(), address


def test_every_colour_of_the_style_sheets_is_a_token() -> None:
    for sheet in sorted((STATIC / "css").glob("*.css")):
        if sheet.name == "tokens.css":
            continue
        found = re.findall(
            r"#[0-9a-fA-F]{3,8}\b", re.sub(r"/\*.*?\*/", "", sheet.read_text(encoding="utf-8"), flags=re.S)
        )
        assert found == [], f"{sheet.name}: {found}"


def test_what_is_vendored_stands_beside_its_licence_and_is_listed() -> None:
    listed = (STATIC / "vendor" / "README.md").read_text(encoding="utf-8")
    folders = [path for path in (STATIC / "vendor").iterdir() if path.is_dir()]
    assert folders
    for folder in folders:
        assert any(path.name.startswith("LICENSE") for path in folder.iterdir()), folder.name
        assert f"`{folder.name}/`" in listed
