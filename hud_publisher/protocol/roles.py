"""The roles that a field of a run can play, and the check of a user's own choice. No I/O.

The web tier decides which field plays which role (hud_web.store.roles); a user's choice comes before its table.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Literal, get_args

from hud_publisher.protocol.errors import ConfigError

Role = Literal[
    "return", "return_max", "return_min", "length", "env_steps", "iteration", "episodes", "steps_per_s", "policy_loss",
    "value_loss", "total_loss", "entropy", "kl", "learning_rate", "explained_variance", "q_value", "success_rate",
    "clip_fraction", "grad_norm",
]  # fmt: skip
ROLES: tuple[Role, ...] = get_args(Role)


def read_roles(roles: Mapping[Any, Any] | None, *, allows_repeats: bool = False) -> dict[str, str]:
    """Return a user's choice: role → path of the field that plays it, nested names joined by slashes.

    Args:
        roles: the choice.
        allows_repeats: leave a role out whose field plays another role already, instead of refusing it.

    Raises:
        ConfigError: a role does not exist, a path is no text, or one field plays two roles.
    """
    if roles is None:
        return {}
    if not isinstance(roles, Mapping):
        raise ConfigError(f'expected roles as a mapping such as {{"return": "my/score"}}, got {type(roles).__name__}')
    chosen: dict[str, str] = {}
    for name, path in roles.items():
        role = next((role for role in ROLES if role == name), None)
        if role is None:
            near = difflib.get_close_matches(str(name), ROLES, n=1)
            meant = f" (did you mean {near[0]!r}?)" if near else ""
            raise ConfigError(f"roles: {str(name)[:40]!r} is no role{meant}: choose among {', '.join(ROLES)}")
        if not isinstance(path, str) or not path:
            raise ConfigError(f"roles: expected the path of a field for {role!r}, got {type(path).__name__}")
        if path in chosen.values():
            if allows_repeats:
                continue
            raise ConfigError(f"roles: {path[:40]!r} was given for two roles: one field plays one role")
        chosen[role] = path
    return chosen
