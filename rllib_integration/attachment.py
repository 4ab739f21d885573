"""What the driver hands to its env runners, so that they join its session wherever they run.

The environment variables of a remote node need not know Redis, and nothing in RLlib's configuration can carry a secret
(it is written into checkpoints), so the driver sends an `Attachment` to each runner once they all exist, and again to
those that came back. Called by `driver`; runs inside each env runner's process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hud_publisher.protocol.settings import Settings
from rllib_integration.guard import note

if TYPE_CHECKING:
    from rllib_integration.callbacks import HudCallbacks


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """Everything that an env runner needs to join.

    Attributes:
        settings: the driver's, with Redis' URL, the channel and the run id; hidden in the repr.
        name: the run's name for people.
        info: what the session says about the run, should this runner be the first to register it.
        wanted: (worker index, env index) of the env to show while no viewer asked for another.
        last_worker: the greatest index of the env runners that sample, which is their number; 0: the driver samples.
        is_evaluation: the runner evaluates, so it must never be taken for training.
        slot: which HudCallbacks of a list of callbacks this is meant for.
    """

    settings: Settings = field(repr=False)
    name: str
    info: Mapping[str, str]
    wanted: tuple[int, int]
    last_worker: int
    is_evaluation: bool = False
    slot: int = 0


@dataclass(frozen=True, slots=True)
class Attach:
    """A call that RLlib executes with each env runner; None ends the runner's part of the session."""

    attachment: Attachment | None
    slot: int

    def __call__(self, env_runner: Any) -> bool:
        """Return whether this runner has our callbacks. Raises nothing: it would cost RLlib the runner."""
        try:
            callbacks = our_callbacks(env_runner)
            if len(callbacks) <= self.slot:
                return False
            if self.attachment is None:
                callbacks[self.slot].detach()
            else:
                callbacks[self.slot].attach(self.attachment)
            return True
        except Exception as error:  # see above
            note("attach", error)
            return False


def our_callbacks(holder: Any) -> list[HudCallbacks]:
    """Return the HudCallbacks among the callbacks of an env runner or algorithm of either API stack, in order."""
    from rllib_integration.callbacks import HudCallbacks

    held = getattr(holder, "_callbacks", None)
    if held is None:
        held = getattr(holder, "callbacks", None)
    if not isinstance(held, (list, tuple)):
        held = getattr(held, "_callback_list", [held])  # the old stack's container for several
    return [callback for callback in held if isinstance(callback, HudCallbacks)]
