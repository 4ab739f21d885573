"""`hud_publisher` stays shallow. A module's layer is one above the highest module of the package that it imports.

Imports within functions count, so that none is hidden there; imports for annotations alone (TYPE_CHECKING) do not.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "hud_publisher"
MOST_LAYERS = 6


def path_of(module: str) -> Path | None:
    path = PACKAGE.parent / Path(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def imports_of(node: ast.AST) -> set[str]:
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return set()
    if isinstance(node, ast.ImportFrom) and node.module:
        named = {f"{node.module}.{alias.name}" for alias in node.names}
        return {name if path_of(name) else node.module for name in named}
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    return {name for child in ast.iter_child_nodes(node) for name in imports_of(child)}


@cache
def layer_of(path: Path) -> int:
    names = {name for name in imports_of(ast.parse(path.read_text())) if name.split(".")[0] == PACKAGE.name}
    return 1 + max((layer_of(file) for name in names if (file := path_of(name))), default=0)


def test_no_module_of_the_publisher_is_above_the_sixth_layer() -> None:
    layers = {str(path.relative_to(PACKAGE)): layer_of(path) for path in PACKAGE.rglob("*.py")}
    assert max(layers.values()) > 3
    assert not {name: layer for name, layer in layers.items() if layer > MOST_LAYERS}
