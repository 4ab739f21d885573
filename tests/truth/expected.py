"""By hand, for each recorded run: which field each tile and key chart shows, under which label.

A tile lists its candidates in order: the first one that the run has sent is shown. Written from the names that the
frameworks log, not from the server's table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

#: Label and path of a field; of a field that each policy has, the paths by the policies' names.
Named = tuple[str, str | Mapping[str, str]]
#: Candidates of each tile, by its place.
Tiles = Sequence[Sequence[Named]]
#: Lines of the key charts by the chart's title: the label of a line, "" if it has none, and its field.
Lines = Mapping[str, Sequence[tuple[str, str]]]

#: The label of a tile while none of its candidates was sent.
EMPTY = (
    "Episode return",
    "Episode length",
    "Env steps",
    "Iteration",
    "Episodes",
    "Steps / s",
    "Policy loss",
    "Entropy",
)

_RETURNS: Sequence[Named] = (
    ("Episode return (mean)", "episode_return_mean"),
    ("Episode return (last episode)", "episode_return"),
    ("Episode return (running episode)", "episode_reward"),
)
_LENGTHS: Sequence[Named] = (
    ("Episode length (mean)", "episode_len_mean"), ("Episode length", "episode_length"),
)  # fmt: skip
_EPISODES: Sequence[Named] = (("Episodes (run)", "episodes_total"), ("Episodes (one env)", "episode"))
_ITERATION: Sequence[Named] = (("Iteration", "iteration"),)
_ENTROPY: Sequence[Named] = (("Entropy", "entropy"),)

_LOOP: Tiles = (_RETURNS, _LENGTHS, (), _ITERATION, _EPISODES, (), (("Policy loss", "policy_loss"),), _ENTROPY)


def _rllib(loss: Sequence[Named], last: Sequence[Named]) -> Tiles:
    steps, speed = (("Env steps", "global_step"),), (("Steps / s", "env_steps_per_s"),)
    return (_RETURNS, _LENGTHS, steps, _ITERATION, _EPISODES, speed, loss, last)


def _by_policy(name: str) -> Mapping[str, str]:
    return {policy: f"learners/{policy}/{name}" for policy in ("blue_long_name", "red")}


_LOOPS = ("frames_only", "many_metrics", "metrics_only", "restarting", "slow", "turning_nan", "two_envs")
_ACTOR_CRITICS = ("ppo", "appo", "impala", "old_stack")
_LOSSES: Sequence[Named] = (("Policy loss", "policy_loss"), ("Total loss", "total_loss"))
TILES: Mapping[str, Tiles] = {
    **dict.fromkeys(_LOOPS, _LOOP),
    **dict.fromkeys(_ACTOR_CRITICS, _rllib(_LOSSES, _ENTROPY)),
    "two_policies": _rllib((("Policy loss", _by_policy("policy_loss")),), (("Entropy", _by_policy("entropy")),)),
    "dqn": _rllib((("Total loss", "total_loss"),), (("Q value (mean)", "qf_mean"),)),
    "sac": _rllib((("Policy loss", "policy_loss"), ("Total loss", "total_loss")), (("Q value (mean)", "qf_mean"),)),
    "dreamerv3": _rllib((("Total loss", "total_loss"),), ()),
    "sb3_4_envs": (
        _RETURNS, _LENGTHS, (("Env steps", "global_step"),), _ITERATION, (("Episodes (one env)", "episode"),),
        (("Steps / s", "time/fps"),), _LOSSES, _ENTROPY,
    ),
}  # fmt: skip

_RETURN_LINES = (
    ("mean", "episode_return_mean"), ("last episode", "episode_return"), ("running episode", "episode_reward"),
    ("max", "episode_return_max"), ("min", "episode_return_min"),
)  # fmt: skip
_SPEED_LINES = (("", "iteration"), ("", "global_step"), ("", "env_steps_per_s"), ("", "time/fps"))
_LOOP_LINES: Lines = {
    "Episode return": _RETURN_LINES,
    "Loss": (("Policy loss", "policy_loss"), ("Value loss", "value_loss")),
    "Entropy · KL": (("Entropy", "entropy"),),
    "Steps / s": _SPEED_LINES,
    "Episode length": (("mean", "episode_len_mean"), ("", "episode_length")),
    "Learning rate": (("", "learning_rate"),),
}
_RLLIB_LINES: Lines = {
    **_LOOP_LINES,
    "Loss": (
        ("Policy loss", "policy_loss"), ("Total loss", "total_loss"), ("Value loss", "vf_loss"),
        ("Value loss", "qf_loss"),
    ),
    "Entropy · KL": (("Entropy", "entropy"), ("KL", "kl")),
    "Explained variance": (("", "vf_explained_var"),),
    "Q value": (("mean", "qf_mean"),),
}  # fmt: skip


def _lines_by_policy(label: str, name: str) -> Sequence[tuple[str, str]]:
    return [(f"{label} ({policy})", path) for policy, path in _by_policy(name).items()]


LINES: Mapping[str, Lines] = {
    **dict.fromkeys(_LOOPS, _LOOP_LINES),
    **dict.fromkeys((*_ACTOR_CRITICS, "dqn", "sac", "dreamerv3"), _RLLIB_LINES),
    "two_policies": {
        **_RLLIB_LINES,
        "Loss": [
            *_lines_by_policy("Policy loss", "policy_loss"), *_lines_by_policy("Total loss", "total_loss"),
            *_lines_by_policy("Value loss", "vf_loss"),
        ],
        "Entropy · KL": [*_lines_by_policy("Entropy", "entropy"), *_lines_by_policy("KL", "mean_kl_loss")],
        "Explained variance": list(_by_policy("vf_explained_var").items()),
        "Learning rate": list(_by_policy("default_optimizer_learning_rate").items()),
    },
    "sb3_4_envs": {
        **_RLLIB_LINES,
        "Loss": (("Policy loss", "policy_loss"), ("Total loss", "train/loss"), ("Value loss", "vf_loss")),
        "Entropy · KL": (("Entropy", "entropy"), ("KL", "train/approx_kl")),
        "Explained variance": (("", "train/explained_variance"),),
    },
}  # fmt: skip
