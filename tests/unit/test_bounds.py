"""The table of bounds in docs/operations.md matches the constants of the code."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

from hud_publisher.protocol import scripts, values
from hud_publisher.protocol.scripts import load_script

ROOT = Path(__file__).parents[2]
_TEXT = (ROOT / "docs" / "operations.md").read_text().partition("## Bounds\n")[2].partition("\n## ")[0]
ROWS = re.findall(r"^\| (.+?) \| (.+?) \| (.*?)\|? ?`(\w+)\.(\w+)` \|$", _TEXT, re.MULTILINE)
#: Modules whose every constant with a name in NAMES must be in the table.
MODULES = (
    "budget",
    "hub",
    "pictures",
    "ring",
    "replay",
    "channels",
    "wire",
    "limits",
    "body",
    "batch",
    "batch_body",
    "images",
)
NAMES = re.compile(r"(MAX|ADDRESS)_\w+|\w+_BYTES")
#: They do not limit data that a client makes.
OTHERS = {"batch.MAX_NUMBER", "batch.MAX_ENV_INDEX", "budget.UNKNOWN_BYTES", "budget.PIECE_BYTES",
          "replay.CHUNK_BYTES", "replay.MAX_SESSIONS", "channels.CHANNEL_BYTES", "channels.CHANNELS_BYTES",
          "body.INLINE_BYTES"}  # fmt: skip


def value_of(module: str, name: str) -> float:
    return float(getattr(load(module), name))


def load(module: str) -> ModuleType:
    (path,) = [
        path for folder in ("hud_web", "hud_publisher/protocol") for path in (ROOT / folder).rglob(f"{module}.py")
    ]
    return importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))


def number_of(text: str) -> float:
    amount, _, unit = text.partition(" ")
    factors = {"": 1, "MB": 1024 * 1024, "KB": 1024, "KB/s": 1024, "s": 1, "ms": 0.001, "%": 0.01}
    return float(amount.replace(",", "")) * factors[unit]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[3]}.{row[4]}")
def test_each_bound_is_the_number_in_the_code(row: tuple[str, ...]) -> None:
    _what, bound, _beyond, module, name = row
    assert number_of(bound) == pytest.approx(value_of(module, name))


def test_every_line_of_the_table_was_read() -> None:
    lines = [line for line in _TEXT.splitlines() if line.startswith("| ") and not line.startswith("| limit of ")]
    assert len(ROWS) == len(lines) >= 40


@pytest.mark.parametrize("module", MODULES)
def test_every_bound_of_the_code_is_in_the_table(module: str) -> None:
    found = load(module)
    source = inspect.getsource(found)
    names = {
        f"{module}.{name}"
        for name, value in vars(found).items()
        if NAMES.fullmatch(name) and isinstance(value, int) and f"\n{name} = " in source  # not an imported one
    }
    assert names - OTHERS <= {f"{row[3]}.{row[4]}" for row in ROWS}


def test_the_script_has_the_same_bounds_as_the_code() -> None:
    source = load_script("publish").source
    assert f"local MOST_STATE_BYTES = {scripts.MAX_STATE_BYTES} " in source
    assert f"local MOST_FIELDS = {values.MAX_STATE_FIELDS} " in source
