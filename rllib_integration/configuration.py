"""Reads RLlib's configuration as plain values, and which of them differ from the defaults of the algorithm.

Called by `driver`, in the process of the Algorithm, while it is set up; takes about a millisecond.
"""

from __future__ import annotations

from typing import Any

from hud_publisher.protocol.configuration import readable
from rllib_integration.guard import quiet

#: Options of environments may hold credentials and any amount of data.
ENV_CONFIG = frozenset({"env_config"})


def configuration_of(config: Any, *, has_env_config: bool = False) -> dict[str, Any]:
    """Return the sections "config", the whole of it, and "changed", the values that differ from the defaults.

    Args:
        config: RLlib's AlgorithmConfig.
        has_env_config: whether the options of the environments are among them.
    """
    without = frozenset() if has_env_config else ENV_CONFIG
    values = readable(config.to_dict(), without=without)
    sections = {"config": values}
    defaults = quiet.attempt("the defaults of the algorithm", lambda: type(config)().to_dict())
    if defaults is not None:
        sections["changed"] = _differing(values, readable(defaults, without=without))
    return sections


def _differing(values: Any, defaults: Any) -> Any:
    """Return the values that differ, nested as they are."""
    if not isinstance(values, dict) or not isinstance(defaults, dict):
        return values
    return {
        name: _differing(value, defaults.get(name)) for name, value in values.items() if value != defaults.get(name)
    }
