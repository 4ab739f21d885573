"""Keeps errors of HUD out of RLlib.

A callback that raises in an env runner costs the run all its workers: `train()` blocks for a minute and then continues
without data. So every entry from RLlib into this package passes through `quiet`.
"""

from __future__ import annotations

from hud_publisher.quiet import Quiet

quiet = Quiet("hud.rllib")
