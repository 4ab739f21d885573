"""The snippets of the documentation that train with RLlib, run as they are written except for their length."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from tests.deploy.documents import blocks
from tests.rllib.conftest import ROOT, Hud


def snippet(page: str, words: str) -> str:
    """Return the one Python block of a page that has these words."""
    [found] = [block for block in blocks() if (block.page, block.language) == (page, "python") and words in block.text]
    return found.text


def shorten(code: str, before: str) -> str:
    """Return the snippet with small batches."""
    small = "config = config.training(train_batch_size_per_learner=400, minibatch_size=200, num_epochs=1)"
    assert code.count(f"\n{before}") == 1
    return code.replace(f"\n{before}", f"\n{small}\n{before}")


def run(code: str, hud: Hud, folder: Path) -> str:
    """Run a snippet as a program that starts Ray itself; return its output."""
    (folder / "snippet.py").write_text(code)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HUD_", "REDIS_", "RAY_"))}
    environment |= {
        "HUD_URL": hud.web.url, "HUD_FRAMES": "always", "PYTHONPATH": str(ROOT), "HOME": str(folder),
        "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "snippet.py"], cwd=folder, env=environment, capture_output=True, text=True, timeout=380
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done.stdout


def test_the_first_run_of_the_readme_is_on_the_page_with_its_picture(hud: Hud, tmp_path: Path) -> None:
    code = snippet("README.md", ".callbacks(HudCallbacks)")
    assert "range(200)" in code, "long enough to open the page and watch"
    told = run(shorten(code, "algorithm = ").replace("range(200)", "range(1)"), hud, tmp_path)
    assert "http://localhost:8086" in told
    state = hud.web.get("/api/state")[1]
    assert state["state"]["iteration"] == 1
    assert state["frame"]["image"]


def test_the_trials_of_the_page_on_tune_have_a_channel_each(hud: Hud, tmp_path: Path) -> None:
    code = snippet("docs/tune.md", "tune.Tuner(").replace('"training_iteration": 20', '"training_iteration": 1')
    run(shorten(code, "tuner = ").replace("num_env_runners=1", "num_env_runners=0"), hud, tmp_path)
    names = [channel["name"] for channel in hud.web.get("/api/channels")[1]["channels"]]
    assert len([name for name in names if re.match(r"PPO_CartPole-v1_.*lr-", name)]) == 2, names


def test_the_parts_of_ray_that_the_page_on_wandb_names_exist() -> None:
    code = snippet("docs/wandb.md", "WandbLoggerCallback")
    for module, name in re.findall(r"^from (ray\S*) import (\w+)$", code, re.M):
        assert hasattr(importlib.import_module(module), name) or find_spec(f"{module}.{name}"), f"{module}.{name}"
