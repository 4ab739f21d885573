"""HUD for RLlib: `config.callbacks(HudCallbacks)` shows a training run while it runs.

`HudCallbacks` is imported at first use, since importing ray takes seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rllib_integration.callbacks import HudCallbacks as HudCallbacks

__all__ = ["HudCallbacks"]


def __getattr__(name: str) -> Any:
    if name == "HudCallbacks":
        from rllib_integration.callbacks import HudCallbacks

        return HudCallbacks
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
