"""HUD's training side: publish metrics, frames and vision calls without slowing the training.

from hud_publisher import Publisher
hud = Publisher()                                  # REDIS_URL, else HUD_URL, else disabled
hud.log({"episode_reward": 12.5}, step=1200)
hud.frame(rgb, step=1200)
hud.close()
"""

from hud_publisher.client import HUDClient
from hud_publisher.protocol.batch import Claim
from hud_publisher.protocol.errors import ConfigError
from hud_publisher.protocol.settings import Settings
from hud_publisher.publisher import Publisher
from hud_publisher.stats import Stats

__all__ = ["Claim", "ConfigError", "HUDClient", "Publisher", "Settings", "Stats"]
