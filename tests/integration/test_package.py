"""The built wheel: small without extras, whole with everything that the code reads at run time."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("ray", "torch", "numpy", "gymnasium")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
        timeout=110,
    )
    (built,) = folder.glob("rl_hud-*.whl")
    return built


def test_the_wheel_carries_the_scripts_the_page_and_the_types(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = [
        path.relative_to(ROOT).as_posix()
        for package in ("hud_publisher", "hud_web", "rllib_integration")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    assert {"hud_publisher/protocol/lua/publish.lua", "hud_web/static/index.html", "hud_web/py.typed"} <= set(sources)
    assert set(sources) <= names


def test_without_extras_the_publisher_works_and_brings_no_web_server_and_no_ray(wheel: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = str(tmp_path / "venv/bin/python")
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", str(wheel)], check=True, capture_output=True, timeout=110
    )
    code = (
        "import importlib.util as u, hud_publisher\n"
        "missing = [n for n in ('starlette', 'uvicorn', 'ray', 'torch', 'numpy') if u.find_spec(n)]\n"
        "assert not missing, missing\n"
        "hud = hud_publisher.Publisher()\n"
        "hud.log({'a': 1}); hud.close()\n"
        "print('fine')\n"
    )
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    result = subprocess.run([python, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "fine\n"), result.stderr


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("hud_web.cli", HEAVY),
        ("hud_web.app", (*HEAVY, "rllib_integration")),
        ("hud_publisher", (*HEAVY, "starlette", "uvicorn", "hud_web")),
        ("rllib_integration", ("starlette", "uvicorn", "hud_web")),
    ],
)
def test_a_package_never_loads_dependencies_of_another(module: str, unwanted: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print([n for n in {unwanted!r} if n in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stdout.strip() == "[]", result.stderr
