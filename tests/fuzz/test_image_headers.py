"""The coverage-guided fuzzer of picture headers, for as long as `make test` has time; `make fuzz` runs it longer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

RUNS = os.environ.get("HUD_FUZZ_IMAGES", "50000")
SEED = os.environ.get("HUD_FUZZ_SEED", "1")


def test_no_bytes_break_the_reader_of_picture_headers(tmp_path: Path) -> None:
    script = Path(__file__).with_name("image_headers.py")
    command = [sys.executable, str(script), f"-runs={RUNS}", "-max_len=512", "-timeout=10", f"-seed={SEED}"]
    root = str(Path(__file__).parents[2])
    result = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": root}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-3_000:]
    assert f"Done {RUNS} runs" in result.stderr
