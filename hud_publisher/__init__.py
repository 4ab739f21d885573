"""HUD's training side: publish metrics, frames and vision calls without slowing the training.

from hud_publisher import Publisher
hud = Publisher()                                  # REDIS_URL, else HUD_URL, else disabled
hud.log({"episode_reward": 12.5}, step=1200)
hud.frame(rgb, step=1200)
hud.close()

The names load when they are first used, so an import of `hud_publisher.protocol` alone loads neither redis nor Pillow.
"""

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hud_publisher.intake.report import Stats
    from hud_publisher.integrations.gym import HudWrapper as HudWrapper
    from hud_publisher.integrations.hud_client import HUDClient
    from hud_publisher.integrations.openai_watch import watch_openai
    from hud_publisher.integrations.sb3 import SB3HudCallback as SB3HudCallback
    from hud_publisher.protocol.batch import Claim
    from hud_publisher.protocol.errors import ConfigError
    from hud_publisher.protocol.histogram import Histogram
    from hud_publisher.protocol.settings import Settings
    from hud_publisher.publisher import Publisher

# Without HudWrapper and SB3HudCallback: they need gymnasium and Stable-Baselines3, which `import *` must not load.
__all__ = ["Claim", "ConfigError", "HUDClient", "Histogram", "Publisher", "Settings", "Stats", "watch_openai"]

_HOMES = {
    "Claim": "protocol.batch",
    "ConfigError": "protocol.errors",
    "HUDClient": "integrations.hud_client",
    "Histogram": "protocol.histogram",
    "HudWrapper": "integrations.gym",
    "Publisher": "publisher",
    "SB3HudCallback": "integrations.sb3",
    "Settings": "protocol.settings",
    "Stats": "intake.report",
    "watch_openai": "integrations.openai_watch",
}

#: Names of the release before this one, which still work, with a warning: old → new.
_RENAMED = {"HudCallback": "SB3HudCallback"}


def __getattr__(name: str) -> Any:
    if (new := _RENAMED.get(name)) is not None:
        warnings.warn(f"hud_publisher.{name} is named {new} now", DeprecationWarning, stacklevel=2)
        name = new
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
