"""hud_web is sorted into few packages, each with one job and the imports that it names."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import hud_web

ROOT = Path(hud_web.__file__).parent
PACKAGES = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))


def test_the_top_level_has_at_most_17_entries() -> None:
    assert len([path for path in ROOT.iterdir() if path.name != "__pycache__"]) <= 17


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_has_few_modules_and_imports_what_its_docstring_allows(package: str) -> None:
    modules = sorted((ROOT / package).glob("*.py"))
    assert len(modules) <= 13
    tree = ast.parse((ROOT / package / "__init__.py").read_text())
    assert len(tree.body) == 1
    docstring = ast.get_docstring(tree) or ""
    allowed = re.findall(r"hud_web\.(\w+)", docstring.partition("Allowed imports: ")[2])
    assert "hud_publisher.protocol" in docstring
    assert {name for path in modules for name in imported(path)} <= {*allowed, package}


def imported(path: Path) -> Iterator[str]:
    """The packages and top-level modules of hud_web that a module imports; import-linter checks the other imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hud_web."):
            yield (node.module or "").split(".")[1]
        elif isinstance(node, ast.ImportFrom) and node.module == "hud_web":
            yield from (name.name for name in node.names if name.name != "distribution_version")


def test_only_the_methods_of_a_hub_change_it() -> None:
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            targets = [*getattr(node, "targets", ()), getattr(node, "target", None)]
            written = [ast.unparse(target) for target in targets if isinstance(target, ast.Attribute)]
            assert not [name for name in written if re.search(r"hub\.\w+$", name)], path
