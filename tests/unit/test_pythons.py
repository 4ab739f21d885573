"""`make test-pythons` finds interpreters that run, and says how to get one that is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests import pythons


def test_a_shim_whose_version_is_not_active_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = sys.version_info[:2]
    name = "python{}.{}".format(*version)
    shims, real = tmp_path / "shims", tmp_path / "versions" / "{}.{}.9".format(*version) / "bin"
    for folder, script in ((shims, "exit 127"), (real, f'exec {sys.executable} "$@"')):
        folder.mkdir(parents=True)
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(shims))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert pythons.find(version) == real / name


def test_a_machine_without_a_newer_python_is_told_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pythons, "find", lambda version: Path("/python") if version == pythons.oldest() else None)
    monkeypatch.setattr(pythons, "_uv", lambda: ["false"])
    with pytest.raises(SystemExit, match=r"expected Python 3\.13 .* uv python install 3\.13"):
        pythons.choose()


def test_both_ends_of_the_range_are_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pythons, "find", lambda version: Path("/python") if version < (3, 14) else None)
    assert [version for version, _path in pythons.choose()] == [(3, 11), (3, 13)]
