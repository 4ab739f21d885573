"""`make test` runs every part of the suite, and a failed part is told at the end."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests import run
from tests.run import Job, Run

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "LOGS", tmp_path)


def run_jobs(*jobs: tuple[str, int, tuple[str, ...]]) -> Run:
    """Each job's target is a Python program."""
    made = Run([Job(*job) for job in jobs], (sys.executable, "-c"))
    made.finish()
    return made


def test_every_folder_of_tests_is_part_of_make_test() -> None:
    makefiles = [ROOT / "Makefile", *ROOT.glob("*/*.mk"), *ROOT.glob("*/*/*.mk")]
    text = "\n".join(path.read_text() for path in makefiles)
    recipes = dict(re.findall(r"^([a-z-]+):(?! export).*\n((?:\t.*\n)+)", text, re.M))
    run_by_make_test = "".join(recipes[job.target] for job in run.JOBS if job.target.startswith("test-"))
    for folder in sorted(path.parent.name for path in (ROOT / "tests").glob("*/__init__.py")):
        has_tests = any((ROOT / "tests" / folder).rglob("test_*.py"))
        assert not has_tests or f"tests/{folder}" in run_by_make_test, folder


def test_a_job_starts_after_those_that_it_needs(tmp_path: Path) -> None:
    first, second = f"open({str(tmp_path / 'made')!r}, 'x')", f"open({str(tmp_path / 'made')!r})"
    made = run_jobs((second, 1, (first,)), (first, 1, ()))
    assert made.done == {first, second}
    assert not made.failed


def test_no_more_run_at_once_than_there_is_room_for(tmp_path: Path) -> None:
    folder = str(tmp_path / "here")
    alone = f"import os, time; os.mkdir({folder!r}); time.sleep(.2); os.rmdir({folder!r})"
    assert not run_jobs((alone, run.ROOM, ()), (alone + ";", 1, ())).failed


def test_small_jobs_do_not_keep_a_large_one_waiting_that_comes_before_them(tmp_path: Path) -> None:
    large, small = f"open({str(tmp_path / 'made')!r}, 'x')", f"open({str(tmp_path / 'made')!r})"
    assert not run_jobs(("import time; time.sleep(.2)", 1, ()), (large, run.ROOM, ()), (small, 1, ())).failed


def test_a_failed_job_ends_only_those_that_need_it_and_its_tests_come_last(capsys: pytest.CaptureFixture[str]) -> None:
    broken = "print('why'); print('FAILED tests/a.py::test_b - boom'); print('1 failed'); exit(2)"
    made = run_jobs((broken, 1, ()), ("pass", 1, (broken,)), ("0", 1, ()))
    assert [job.target for job in made.failed] == [broken, "pass"]
    assert made.done == {"0"}
    capsys.readouterr()
    made.report()
    said = capsys.readouterr().out
    assert "\nwhy\n" in said
    assert said.splitlines()[-3] == "FAILED tests/a.py::test_b - boom"
    assert said.splitlines()[-2].startswith("FAILED pass: not run, because")
