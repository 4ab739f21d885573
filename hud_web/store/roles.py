"""Field roles: finds the fields of a run that are its return, its env steps or its policy loss.

The server decides once, so that tiles, charts, alerts, exports and commands agree. A field has at most
one role, and only its full path counts: a name below an unknown prefix, such as `timers/training_iteration`, has none.
Exact top-level names come first, then the names that each framework logs. No I/O. Called by the hub and by the read
endpoints.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Self, TypedDict

from hud_publisher.protocol.roles import ROLES, Role
from hud_publisher.protocol.values import MAX_STATE_FIELDS


class RoleField(TypedDict):
    """One field that plays a role: its path, and the label that a page shows for it."""

    path: str
    label: str


Roles = dict[Role, list[RoleField]]

LAST_RETURN = "Episode return (last episode)"
#: A path segment that names a policy or module; every match is shown.
ANY = "*"
#: RLlib's sums over all modules do not belong to a policy.
_NO_POLICY = frozenset({"__all_modules__"})
_LEARNERS = ("learners/*/", "info/learner/*/learner_stats/")
_RUNNERS = ("env_runners/", "sampler_results/")


@dataclass(frozen=True, slots=True)
class _Names:
    """Candidates for a role, the best first; all mean the same quantity.

    Attributes:
        role: the role.
        label: shown for it.
        top: names at the top level of a run's fields.
        framework: full paths that frameworks log.
    """

    role: Role
    label: str
    top: str
    framework: tuple[str, ...] = ()


def _below(prefixes: Iterable[str], names: str) -> tuple[str, ...]:
    return tuple(prefix + name for name in names.split() for prefix in prefixes)


#: Sources: RLlib 2.60 results of both API stacks; Stable-Baselines3 logger docs (`rollout/`, `time/`, `train/`);
#: CleanRL (`charts/`, `losses/`); TorchRL's sota-implementations (`train/`, `eval/`); Tianshou's BaseLogger; skrl's
#: agents ("Reward / Total reward (mean)"); Sample Factory's runner (`reward/`, `len/`, `perf/`); rsl_rl (`Train/`,
#: `Loss/`, `Perf/`); rl_games (`rewards/`, `losses/`, `info/`). Names are compared in lower case, without blanks around
#: slashes.
_TABLE = (
    _Names("return", "Episode return (mean)",
           "episode_return_mean episode_reward_mean ep_rew_mean ep_return_mean mean_return mean_reward return_mean "
           "reward_mean mean_episode_return mean_episode_reward avg_return average_return avg_episode_return",
           (*_below(_RUNNERS, "episode_return_mean episode_reward_mean agent_episode_returns_mean"),
            "rollout/ep_rew_mean", "train/returns_stat/mean", "train/mean_reward", "reward/total reward (mean)",
            "reward/reward", "rewards/iter", "charts/avg_episodic_return")),
    _Names("return", LAST_RETURN,
           "episode_return last_return episodic_return ep_return last_episode_return",
           ("charts/episodic_return", "train/episode_reward", "train/reward", "rollout/episode_return")),
    _Names("return", "Episode return (running episode)", "episode_reward ep_reward running_return"),
    _Names("return_max", "Episode return (max)", "episode_return_max episode_reward_max return_max reward_max",
           (*_below(_RUNNERS, "episode_return_max episode_reward_max"), "train/returns_stat/max",
            "reward/total reward (max)", "reward/reward_max")),
    _Names("return_min", "Episode return (min)", "episode_return_min episode_reward_min return_min reward_min",
           (*_below(_RUNNERS, "episode_return_min episode_reward_min"), "train/returns_stat/min",
            "reward/total reward (min)", "reward/reward_min")),
    _Names("length", "Episode length (mean)",
           "episode_len_mean episode_length_mean ep_len_mean mean_episode_length mean_length len_mean "
           "avg_episode_length",
           (*_below(_RUNNERS, "episode_len_mean episode_length_mean"), "rollout/ep_len_mean", "train/lens_stat/mean",
            "train/mean_episode_length", "episode/total timesteps (mean)", "len/len", "episode_lengths/iter")),
    _Names("length", "Episode length (last episode)", "episodic_length last_episode_length",
           ("charts/episodic_length", "train/episode_length", "train/length")),
    # HUD's publishers log the length of the current episode under this name, other loops that of the last episode.
    _Names("length", "Episode length", "episode_length episode_len ep_length ep_len"),
    _Names("env_steps", "Env steps",
           "num_env_steps_sampled_lifetime global_step env_steps env_step total_timesteps num_timesteps "
           "timesteps_total total_env_steps total_steps timesteps timestep step",
           (*_below(_RUNNERS, "num_env_steps_sampled_lifetime"), "time/total_timesteps", "train/env_step",
            "charts/global_step", "train/env_steps")),
    _Names("iteration", "Iteration", "training_iteration iteration iterations iter epoch update num_updates",
           ("time/iterations", "train/iteration", "train/epoch")),
    _Names("episodes", "Episodes (run)",
           "num_episodes_lifetime episodes_total total_episodes num_episodes episodes episode_count n_episodes",
           (*_below(_RUNNERS, "num_episodes_lifetime"), "time/episodes", "train/n_episode")),
    _Names("episodes", "Episodes (one env)", "episode episode_number episode_id episode_idx episode_num"),
    _Names("steps_per_s", "Steps / s",
           "env_steps_per_s steps_per_s steps_per_second sps fps num_env_steps_sampled_lifetime_throughput",
           (*_below(_RUNNERS, "num_env_steps_sampled_lifetime_throughput"), "time/fps", "charts/sps", "perf/_fps",
            "perf/total_fps", "performance/step_inference_rl_update_fps")),
    _Names("policy_loss", "Policy loss",
           "policy_loss actor_loss pi_loss pg_loss policy_gradient_loss loss_policy loss_pi",
           (*_below(_LEARNERS, "policy_loss actor_loss pi_loss"), "train/policy_gradient_loss", "train/policy_loss",
            "train/actor_loss", "losses/policy_loss", "losses/actor_loss", "train/loss_objective", "train/loss_actor",
            "loss/policy loss", "loss/surrogate", "losses/a_loss", "update/actor_loss", "update/policy_loss")),
    _Names("value_loss", "Value loss",
           "vf_loss value_loss critic_loss v_loss qf_loss value_function_loss loss_value loss_critic",
           (*_below(_LEARNERS, "vf_loss value_loss critic_loss qf_loss"), "train/value_loss", "train/critic_loss",
            "losses/value_loss", "losses/qf_loss", "losses/critic_loss", "losses/td_loss", "train/loss_critic",
            "train/loss_qvalue", "loss/value loss", "loss/critic loss", "loss/value_function", "loss/value",
            "losses/c_loss", "update/critic_loss", "update/vf_loss")),
    _Names("total_loss", "Total loss", "total_loss loss train_loss",
           (*_below(_LEARNERS, "total_loss loss"), "train/loss", "losses/total_loss", "losses/loss", "update/loss",
            "loss/total loss", "loss/q-network loss")),
    _Names("entropy", "Entropy", "entropy policy_entropy mean_entropy",
           (*_below(_LEARNERS, "entropy curr_entropy"), "train/entropy", "losses/entropy", "loss/entropy",
            "update/entropy")),
    _Names("entropy", "Entropy loss", "entropy_loss ent_loss",
           ("train/entropy_loss", "losses/entropy_loss", "loss/entropy loss", "train/loss_entropy", "update/ent_loss")),
    _Names("kl", "KL", "kl mean_kl approx_kl mean_kl_loss kl_divergence kl_div kl_loss",
           (*_below(_LEARNERS, "mean_kl_loss kl mean_kl"), "train/approx_kl", "losses/approx_kl", "train/kl_approx",
            "train/kl_divergence", "info/kl", "loss/kl", "policy/kl")),
    _Names("learning_rate", "Learning rate",
           "learning_rate lr default_optimizer_learning_rate cur_lr policy_lr actor_lr",
           (*_below(_LEARNERS, "default_optimizer_learning_rate cur_lr actor_optimizer_learning_rate"),
            "train/learning_rate", "train/lr", "charts/learning_rate", "learning/learning rate",
            "learning/policy learning rate", "loss/learning_rate", "info/last_lr", "losses/learning_rate")),
    _Names("explained_variance", "Explained variance", "explained_variance vf_explained_var explained_var",
           (*_below(_LEARNERS, "vf_explained_var explained_variance"), "train/explained_variance",
            "losses/explained_variance")),
    _Names("q_value", "Q value (mean)", "q_value q_values mean_q qf_mean q_mean",
           (*_below(_LEARNERS, "qf_mean mean_q"), "losses/q_values", "losses/qf1_values", "train/q_values",
            "q-network/q1 (mean)")),
    _Names("success_rate", "Success rate", "success_rate success is_success episode_success_rate",
           (*_below(_RUNNERS, "success_rate"), "rollout/success_rate", "episode/success_rate", "train/success_rate")),
    _Names("clip_fraction", "Clip fraction", "clip_fraction clipfrac clip_frac",
           ("train/clip_fraction", "losses/clipfrac", "losses/clip_fraction", "train/clipfrac", "info/clip_frac")),
    _Names("grad_norm", "Gradient norm", "grad_norm gradient_norm grad_gnorm total_grad_norm",
           (*_below(_LEARNERS, "gradients_default_optimizer_global_norm grad_gnorm grad_norm "
                    "gradients_policy_global_norm gradients_actor_global_norm gradients_qf_global_norm"),
            "train/grad_norm", "losses/grad_norm", "train/gradient_norm", "loss/grad_norm", "update/grad_norm")),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Match:
    """The rank of a path in the table: a lower rank is the better candidate of its role."""

    role: Role
    rank: int
    label: str
    policy: str = ""


class RoleMap:
    """The roles of one run's fields; paths are added as they appear and never leave.

    Attributes:
        roles: role → its fields; several if each belongs to another policy.
        by_path: path of each of these fields → its role.
        known: the paths that were added, at most MAX_STATE_FIELDS: an entry of known fields needs no look-up.
        last_returns: of these, the ones that hold the return of one finished episode.
    """

    def __init__(self, chosen: Mapping[str, str] | None = None) -> None:
        """Make a map without fields.

        Args:
            chosen: role → field path, as the user decided; takes precedence over the table. Unknown roles are ignored.
        """
        self.roles: Roles = {}
        self._chosen: dict[str, Role] = {}
        for role in ROLES:
            if path := (chosen or {}).get(role):
                self._chosen.setdefault(path, role)
        self._taken = set(self._chosen.values())
        self._best: dict[Role, dict[str, tuple[int, RoleField]]] = {}
        self.by_path: dict[str, Role] = {}
        self.known: set[str] = set()
        self.last_returns: list[str] = []

    @classmethod
    def of(cls, chosen: Mapping[str, str], state: Mapping[str, Any], not_finite: Iterable[str]) -> Self:
        """Return the map of a session with this state and these fields that are not finite."""
        roles = cls(chosen)
        roles.add_numbers(state)
        for path in not_finite:
            roles.add(path)
        return roles

    def add(self, path: str) -> bool:
        """Add the path of a numeric field; return whether `roles` changed."""
        if path not in self.known and len(self.known) < MAX_STATE_FIELDS:
            self.known.add(path)
            if is_last_return(path):
                self.last_returns.append(path)
        match = self._match(path)
        if match is None:
            return False
        found = self._best.setdefault(match.role, {})
        known = found.get(match.policy)
        if known is not None and known[0] <= match.rank:
            return False
        label = f"{match.label} ({match.policy})" if match.policy else match.label
        found[match.policy] = (match.rank, {"path": path, "label": label})
        return self._choose(match.role)

    def add_numbers(self, fields: Mapping[str, Any], prefix: str = "") -> bool:
        """Add the path of every number in nested fields; return whether `roles` changed."""
        has_changed = False
        for name, value in fields.items():
            if isinstance(value, Mapping):
                has_changed |= self.add_numbers(value, f"{prefix}{name}/")
            elif isinstance(value, (int, float)) and not isinstance(value, bool):
                has_changed |= self.add(prefix + name)
        return has_changed

    def _match(self, path: str) -> _Match | None:
        role = self._chosen.get(path)
        if role is not None:
            return _Match(role, -1, f"{_label_of(role)} · {path}")
        match = _find(path)
        return None if match is None or match.role in self._taken else match

    def _choose(self, role: Role) -> bool:
        """Keep the run's field, or if policies have better candidates, one field of each policy."""
        found = self._best[role]
        best = min(found, key=lambda policy: found[policy][0])
        chosen = [found[policy][1] for policy in sorted(found) if policy == best or (best and policy)]
        if len(chosen) == 1 and chosen[0]["label"].endswith(" (default_policy)"):
            chosen = [{**chosen[0], "label": chosen[0]["label"].removesuffix(" (default_policy)")}]
        if self.roles.get(role) == chosen:
            return False
        for one in self.roles.get(role, ()):
            del self.by_path[one["path"]]
        self.roles[role] = chosen
        self.by_path |= {one["path"]: role for one in chosen}
        return True


def is_last_return(path: str) -> bool:
    """Whether a field holds the return of one finished episode."""
    match = _find(path)
    return match is not None and match.label == LAST_RETURN


def _label_of(role: Role) -> str:
    return next(names.label for names in _TABLE if names.role == role).partition(" (")[0]


@lru_cache(maxsize=16_384)
def _find(path: str) -> _Match | None:
    """Look a path up in the table, unchanged and with each of its segments as the name of a policy."""
    exact, patterns = _index()
    name = _normal(path)
    match = exact.get(name)
    if match is not None:
        return match
    segments = path.split("/")
    lowered = name.split("/")
    for number in range(1, len(lowered) - 1):
        if lowered[number] in _NO_POLICY:
            continue
        match = patterns.get("/".join([*lowered[:number], ANY, *lowered[number + 1 :]]))
        if match is not None:
            return _Match(match.role, match.rank, match.label, segments[number].strip())
    return None


def _normal(path: str) -> str:
    return re.sub(r"\s*/\s*", "/", path.strip().lower())


@cache
def _index() -> tuple[dict[str, _Match], dict[str, _Match]]:
    """Return the table by exact path and by pattern; the rank counts top-level names before framework paths."""
    exact: dict[str, _Match] = {}
    patterns: dict[str, _Match] = {}
    rank = 0
    for is_top in (True, False):
        for names in _TABLE:
            for name in names.top.split() if is_top else names.framework:
                index = patterns if ANY in name else exact
                index.setdefault(name, _Match(names.role, rank, names.label))
                rank += 1
    return exact, patterns
