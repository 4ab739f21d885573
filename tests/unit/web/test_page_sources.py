"""Rules for every file of the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import hud_web
from hud_web.http.page_files import strip_comments

STATIC = Path(hud_web.__file__).parent / "static"
MODULES = sorted((STATIC / "js").rglob("*.js"))
PAGES = sorted(STATIC.glob("*.html"))
#: The folders of the modules in layers: a module imports from its own folder and from lower layers only.
LAYERS = {
    "data": 0, "server": 1, "ui": 1, "charts": 2, "runs": 2, "stage": 2, "panels": 3, "shell": 4, "table": 5, "wall": 5
}  # fmt: skip
#: Ways in which text from a run could become markup or code.
FORBIDDEN = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|DOMParser|\beval\(|new Function"
)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_a_module_is_checked_documented_and_makes_no_markup_of_text(module: Path) -> None:
    text = module.read_text(encoding="utf-8")
    assert text.startswith("// @ts-check\n/**"), "its types are checked, and its first lines say what it owns"
    assert not FORBIDDEN.search(text)
    assert max(len(line) for line in text.split("\n")) <= 120
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    for address in re.findall(r"(?:from|import|import\() ?\"(\.[^\"]+)\"", text):
        assert (module.parent / address).resolve().is_file(), address
    for name in re.findall(r"loadSheet\(\"(\w+)\"\)", text):
        assert (STATIC / "css" / f"{name}.css").is_file(), name


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_a_module_imports_from_its_own_folder_and_from_lower_layers(module: Path) -> None:
    code = strip_comments(module.read_bytes()).decode("utf-8")
    for address in re.findall(r"(?:from|import|import\() ?\"(\.[^\"]+)\"", code):
        folder = (module.parent / address).resolve().parent
        if folder.parent.name == "js" and folder != module.parent:
            assert LAYERS[folder.name] < LAYERS[module.parent.name], address


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_a_browser_gets_a_modules_code_line_by_line_and_none_of_its_comments(module: Path) -> None:
    source, served = module.read_text(encoding="utf-8"), strip_comments(module.read_bytes()).decode("utf-8")
    assert "/*" not in served
    for line, kept in zip(source.split("\n"), served.split("\n"), strict=True):
        assert line.count("`") % 2 == 0, "a string over several lines could look like a comment"
        code, _, comment = line.partition(" // ")
        assert not comment or code.count('"') % 2 == code.count("`") % 2 == 0, "a string could look like a comment"
        if "*" not in code and not code.strip(" ").startswith("//"):
            assert kept == code.strip(" ")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_a_page_has_no_inline_script_or_style_and_names_existing_files(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", text)
    files = re.findall(r"(?:src|href)=\"static/([^\"]+)\"", text)
    assert len(files) > 5
    for address in files:
        assert (STATIC / address).is_file(), address


@pytest.mark.parametrize("source", [*MODULES, *STATIC.glob("css/*.css"), *PAGES], ids=lambda path: path.name)
def test_no_source_names_an_address_from_the_root_of_the_origin(source: Path) -> None:
    """The page may be below a path prefix of a proxy."""
    text = source.read_text(encoding="utf-8")
    assert re.findall(r"""["'`(]/(?:api|static|stream|health|ready|openapi|\?)[^"'`)]*""", text) == []
    assert re.findall(r"(?:src|href|action)=\"/[^\"]*", text) == []


def test_every_colour_of_the_style_sheets_is_a_token() -> None:
    for sheet in sorted((STATIC / "css").glob("*.css")):
        if sheet.name == "tokens.css":
            continue
        found = re.findall(
            r"#[0-9a-fA-F]{3,8}\b", re.sub(r"/\*.*?\*/", "", sheet.read_text(encoding="utf-8"), flags=re.S)
        )
        assert found == [], f"{sheet.name}: {found}"


def test_each_vendored_library_has_its_licence_beside_it_and_is_listed() -> None:
    listed = (STATIC / "vendor" / "README.md").read_text(encoding="utf-8")
    folders = [path for path in (STATIC / "vendor").iterdir() if path.is_dir()]
    assert folders
    for folder in folders:
        assert any(path.name.startswith("LICENSE") for path in folder.iterdir()), folder.name
        assert f"`{folder.name}/`" in listed
