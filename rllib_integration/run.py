"""Reads what HUD shows about a run from RLlib's Algorithm: its name, its channel, its run id, its configuration.

Does no I/O beyond a small file that keeps the run id. Called by `driver`, in the process of the Algorithm.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray.rllib.env.env_runner import EnvRunner

from hud_publisher.protocol.internals import report_missing
from hud_publisher.protocol.settings import Settings
from rllib_integration.guard import quiet

logger = logging.getLogger("hud.rllib")

RUN_ID_FILE = ".hud_run_id"
#: Fields of the configuration for viewers; never env_config, which may hold credentials.
_CONFIG = (
    "lr", "gamma", "train_batch_size_per_learner", "train_batch_size", "minibatch_size", "num_epochs", "lambda_",
    "clip_param", "entropy_coeff", "vf_loss_coeff", "grad_clip", "rollout_fragment_length", "batch_mode", "seed",
    "num_learners", "framework_str", "gym_env_vectorize_mode",
)  # fmt: skip


def describe(algorithm: Any) -> dict[str, str]:
    """Return the describing fields of the session, as text, without those that cannot be read."""
    config = algorithm.config
    known = {key: _option(config, key) for key in _CONFIG}
    plain = {key: value for key, value in known.items() if isinstance(value, (bool, int, float, str))}
    fields: dict[str, Callable[[], str | None]] = {
        "env": lambda: _env_name(config),
        "algorithm": lambda: _algorithm_name(algorithm),
        "framework": lambda: f"ray {ray.__version__}",
        "env_runners": lambda: str(config.num_env_runners),
        "envs_per_env_runner": lambda: str(config.num_envs_per_env_runner),
        "config": lambda: json.dumps(plain),
    }
    found = {name: quiet.attempt(f"describing {name}", read) for name, read in fields.items()}
    return {name: text for name, text in found.items() if text is not None}


def _option(config: Any, name: str) -> Any:
    """Return an option of the configuration; None if the algorithm has none, such as DreamerV3's train_batch_size."""
    try:
        return getattr(config, name, None)
    except Exception:  # some options are properties that raise if they do not apply
        return None


def why_no_frames(algorithm: Any) -> str | None:
    """Return the reason why this run's env runners send no frames; None if they do."""
    config = algorithm.config
    runners: Any = getattr(config, "env_runner_cls", None)
    if getattr(runners, "make_env", None) is EnvRunner.make_env:
        return (
            f"{runners.__name__} makes no environment: give HudCallbacks(run_id=…) and a Publisher(run_id=…) in the "
            "environment's program the same run id to show it"
        )
    if getattr(config, "is_online", True):
        return None if config.env is not None else "the run has no environment"
    if config.env is None:
        return "the run has no environment: it learns from recorded data"
    return (
        "the run learns from recorded data and uses its environment for evaluation only: "
        "HudCallbacks(evaluation_channel=…) shows that"
    )


def trial_name(algorithm: Any) -> str | None:
    """Return the name of Tune's trial; None outside of Tune, where RLlib calls every trial "default"."""
    if not hasattr(algorithm, "_storage"):
        report_missing("ray", "Trainable._storage", "runs are named after the directory of their results")
        logdir = getattr(algorithm, "logdir", None)
        return Path(logdir).name if logdir else None
    name = getattr(algorithm._storage, "trial_dir_name", None)
    return str(name) if name else None


def channel_of(name: str) -> str:
    """Return a channel name made from a trial's name; a long one is cut and gets a digest, so that it stays unique."""
    plain = re.sub(r"[^A-Za-z0-9_.\-]+", "-", name).lstrip("_.-") or "run"
    if len(plain) <= 64:
        return plain
    digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{plain[:55]}-{digest}"


def run_id_of(given: str | None, algorithm: Any, trial: str | None) -> str:
    """Return the run's secret: the given one, or the one stored with the run's files, so that a retry uses it too."""
    if given:
        # Trials of one job share the environment; with one run id they would all write into one session.
        return f"{given}/{trial}" if trial else given
    path = Path(getattr(algorithm, "logdir", None) or ".") / RUN_ID_FILE
    try:
        kept = path.read_text(encoding="ascii").strip()
        if kept:
            return kept
    except (OSError, ValueError):
        pass
    fresh = secrets.token_urlsafe(24)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(fresh)
    except OSError as error:
        logger.debug("HUD: cannot keep the run id in %s (%s): a retry of this run gets its own session", path, error)
    return fresh


def env_to_show(settings: Settings, config: Any) -> tuple[int, int]:
    """Return the env to show first: the one that the settings name, or the nearest that exists."""
    workers, envs = config.num_env_runners or 0, max(1, config.num_envs_per_env_runner or 1)
    worker = min(max(1, settings.worker_index), workers) if workers else 0
    return worker, min(settings.env_id, envs - 1)


def _env_name(config: Any) -> str | None:
    env = config.env
    if env is None:
        return None
    return env if isinstance(env, str) else getattr(env, "__name__", None) or type(env).__name__


def _algorithm_name(algorithm: Any) -> str:
    return type(algorithm).__name__


def run_name(algorithm: Any) -> str:
    """Return a name that other runs do not have: the last part is the folder of the run's files."""
    return f"{_algorithm_name(algorithm)}-{_env_name(algorithm.config)}-{Path(algorithm.logdir).name}"
