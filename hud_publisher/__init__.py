"""HUD's training side: publish metrics, frames and vision calls without slowing the training.

from hud_publisher import Publisher
hud = Publisher()                                  # REDIS_URL, else HUD_URL, else disabled
hud.log({"episode_reward": 12.5}, step=1200)
hud.frame(rgb, step=1200)
hud.close()

The names load when they are first used, so whoever needs only `hud_publisher.protocol` loads neither redis nor Pillow.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hud_publisher.client import HUDClient
    from hud_publisher.gym import HudWrapper as HudWrapper
    from hud_publisher.openai_watch import watch_openai
    from hud_publisher.protocol.batch import Claim
    from hud_publisher.protocol.errors import ConfigError
    from hud_publisher.protocol.settings import Settings
    from hud_publisher.publisher import Publisher
    from hud_publisher.sb3 import HudCallback as HudCallback
    from hud_publisher.stats import Stats

# HudWrapper and HudCallback are not among them: they need gymnasium and Stable-Baselines3, which `import *` must not.
__all__ = ["Claim", "ConfigError", "HUDClient", "Publisher", "Settings", "Stats", "watch_openai"]

_HOMES = {
    "Claim": "protocol.batch",
    "ConfigError": "protocol.errors",
    "HUDClient": "client",
    "HudCallback": "sb3",
    "HudWrapper": "gym",
    "Publisher": "publisher",
    "Settings": "protocol.settings",
    "Stats": "stats",
    "watch_openai": "openai_watch",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
