"""Runs the unit and contract tests and a smoke of the server on both ends of the supported Python range.

`make test-pythons` calls it with the Python of .venv. The other tests run on that one, so this script runs the oldest
supported Python and the newest one of this machine, except the one that .venv has. It installs nothing but packages
into `.make/pythons/`. It fails if this machine has no Python newer than the oldest: a passed test would claim too much.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).parents[1]
ENVIRONMENTS = ROOT / ".make" / "pythons"
TESTS = ("tests/unit", "tests/contract", "tests/integration/test_smoke.py")
#: The newest version for which the dependencies have wheels; newer ones join once they have.
NEWEST = (3, 14)

Version = tuple[int, int]


def oldest() -> Version:
    """Return the lower end of the range, as pyproject.toml states it."""
    [found] = re.findall(r'^requires-python = ">=3\.(\d+)"$', (ROOT / "pyproject.toml").read_text(), re.M)
    return 3, int(found)


def find(version: Version) -> Path | None:
    """Return an interpreter of this version: on PATH, of pyenv, or of uv; None if there is none."""
    name = f"python{_name(version)}"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [
        *(Path(folder) / name for folder in os.get_exec_path()),
        *sorted(pyenv.glob(f"{_name(version)}.*/bin/{name}")),
    ]
    # A shim of pyenv is an executable file, and fails unless its version is active: only an answer counts.
    return next((path for path in candidates if _is(path, version)), None) or _find_of_uv(version)


def _is(path: Path, version: Version) -> bool:
    code = f"import sys, venv; sys.exit(sys.version_info[:2] != {version!r})"
    try:
        return subprocess.run([path, "-c", code], capture_output=True, timeout=30).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _find_of_uv(version: Version) -> Path | None:
    command = [*_uv(), "python", "find", "--managed-python", _name(version)]
    done = subprocess.run(command, capture_output=True, text=True)
    return Path(done.stdout.strip()) if done.returncode == 0 else None


def _uv() -> list[str]:
    return [str(Path(sys.executable).with_name("uv"))]


def choose() -> list[tuple[Version, Path]]:
    """Return the interpreters of both ends of the range.

    Raises:
        SystemExit: one of them is missing; the message names the fix.
    """
    first = oldest()
    newer = [(3, minor) for minor in range(NEWEST[1], first[1], -1)]
    last = next((version for version in newer if find(version)), None)
    if last is None:
        print("this machine has no newer Python: asking uv to fetch one …", flush=True)
        last = 3, 13
        subprocess.run([*_uv(), "python", "install", "--quiet", _name(last)])
    return [(version, find(version) or _give_up(version)) for version in (first, last)]


def _give_up(version: Version) -> NoReturn:
    name = _name(version)
    sys.exit(
        f"tests/pythons.py: expected Python {name} on this machine, got none: install it (pyenv install {name}, "
        f"uv python install {name}, or your system's package python{name}) and run `make test-pythons` again"
    )


def _name(version: Version) -> str:
    return "{}.{}".format(*version)


def environment(version: Version, python: Path) -> Path:
    """Return the interpreter of an environment with all that TESTS need; made once per content of pyproject.toml."""
    folder = ENVIRONMENTS / _name(version)
    stamp = folder / "installed"
    content = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + str(python).encode()).hexdigest()
    inner = folder / "bin" / "python"
    if not stamp.exists() or stamp.read_text() != content:
        print(f"installing the packages of the tests for Python {_name(version)} …", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(inner)]
        packages = ["--editable", f"{ROOT}[web,embedded,fast]", "--group", f"{ROOT}/pyproject.toml:tests"]
        # Python compiles a module when it first imports it; most modules of the packages are never imported here.
        subprocess.run([*pip, "install", "--quiet", "--no-compile", *packages], check=True)
        stamp.write_text(content)
    return inner


def main() -> None:
    """Run TESTS on each end of the range that .venv is not; exit with the first failure."""
    for version, path in choose():
        if version == sys.version_info[:2]:
            print(
                "Python {}.{} is that of .venv: test-unit, test-contract and test-integration run on it".format(
                    *version
                )
            )
            continue
        print(f"Python {_name(version)} ({path})", flush=True)
        python = environment(version, path)
        done = subprocess.run([python, "-m", "pytest", "-p", "no:cacheprovider", "-q", *TESTS], cwd=ROOT)
        if done.returncode:
            sys.exit(done.returncode)


if __name__ == "__main__":
    main()
