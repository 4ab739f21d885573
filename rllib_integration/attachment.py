"""The settings that the driver sends to its env runners, so that they join its session on any machine.

The environment variables of a remote node may lack the address of Redis, and no part of RLlib's configuration can carry
a secret (it is written into checkpoints). So the driver sends an `Attachment` to each runner once they all exist, and
again to those that were recreated. Called by `driver`; runs inside each env runner's process.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from hud_publisher.protocol.internals import report_missing
from hud_publisher.protocol.settings import Settings
from rllib_integration.failures import watch_runner
from rllib_integration.guard import quiet


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """All data that an env runner needs to join.

    Attributes:
        settings: the driver's, with Redis' URL, the channel and the run id; hidden in the repr.
        name: the run's name for people.
        info: the describing fields of the session, in case this runner is the first to register it.
        wanted: (worker index, env index) of the env to show until a viewer asks for another.
        last_worker: the greatest index of the env runners that sample, which is their number; 0: the driver samples.
        is_evaluation: the runner evaluates, so it must never count as training.
        turn: changes when the run takes its display from an older run of the driver's process.
        roles: role → field path, as the user decided.
    """

    settings: Settings = field(repr=False)
    name: str
    info: Mapping[str, str]
    wanted: tuple[int, int]
    last_worker: int
    is_evaluation: bool = False
    turn: int = 0
    roles: Mapping[str, str] = field(default_factory=dict)


#: Where an env runner or an algorithm has its callbacks: undocumented, the new and the old API stack.
_LISTS = ("_callbacks", "callbacks")
_NOTES = "hud_callbacks"


class AttachableCallbacks:
    """The base of HudCallbacks: its options, and the methods that the driver calls in the env runners."""

    # For subclasses that do not call the constructor of HudCallbacks: the defaults, from the environment variables.
    channel: str | None = None
    name: str | None = None
    info_keys: Sequence[str] = ()
    reward_keys: Sequence[str] = ()
    roles: Mapping[str, str] = MappingProxyType({})
    evaluation_channel: str | None = None
    env_config: bool = False
    overrides: Mapping[str, Any] = MappingProxyType({})

    def attach(self, attachment: Attachment) -> None:
        """Join the driver's session from the next episode on; may be called more than once."""
        raise NotImplementedError

    def detach(self) -> None:
        """Leave the session."""
        raise NotImplementedError

    def report_death(self, env_runner: Any, error: BaseException) -> None:
        """Report an exception that ends the env runner, and leave the session."""
        raise NotImplementedError

    def suspend(self, is_suspended: bool) -> None:
        """Publish nothing of this env runner: the driver evaluates on a training env runner."""
        raise NotImplementedError


@quiet.guarded  # an error here would cost RLlib the runner
def attach_callbacks(env_runner: Any, *, slot: int, attachment: Attachment | None) -> None:
    """Attach one of an env runner's HudCallbacks, or detach it; RLlib executes this with each env runner.

    Args:
        env_runner: of either API stack.
        slot: the index among its HudCallbacks.
        attachment: None: the runner leaves the session.
    """
    for callbacks in our_callbacks(env_runner)[slot : slot + 1]:
        if attachment is None:
            callbacks.detach()
        else:
            callbacks.attach(attachment)
            watch_runner(env_runner, functools.partial(_report_death, weakref.ref(env_runner)))


def _report_death(runner: weakref.ref[Any], error: BaseException) -> None:
    env_runner = runner()
    for callbacks in our_callbacks(env_runner):
        callbacks.report_death(env_runner, error)


def note(holder: Any, callbacks: AttachableCallbacks) -> None:
    """Note that an env runner or an algorithm has this HudCallbacks; RLlib calls them in the order of their list.

    The notes are an attribute of the holder, so that they disappear with it.
    """
    noted = vars(holder).setdefault(_NOTES, [])
    if callbacks not in noted:
        noted.append(callbacks)


def our_callbacks(holder: Any) -> list[AttachableCallbacks]:
    """Return the HudCallbacks among the callbacks of an env runner or algorithm of either API stack, in order.

    RLlib documents no attribute that holds them. If the known ones are missing, the notes take their place; a subclass
    of HudCallbacks may have methods of its own that make none.
    """
    held: Any = next((getattr(holder, name) for name in _LISTS if hasattr(holder, name)), [])
    if not isinstance(held, (list, tuple)):
        held = getattr(held, "_callback_list", [held])  # the old stack's container for several
    found = [callbacks for callbacks in held if isinstance(callbacks, AttachableCallbacks)]
    noted = getattr(holder, _NOTES, [])
    if noted and not found:
        report_missing("ray", f"{type(holder).__name__}.{_LISTS[0]}", "HudCallbacks find their env runners themselves")
    return found or list(noted)
