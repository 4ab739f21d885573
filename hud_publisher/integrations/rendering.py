"""Renders the environments that a wrapper steps, on the thread that steps them.

Three guarantees. The environment is not affected: frames that belong to its user stay in their list, and random
generators continue as if no picture had been drawn. Rendering takes at most a fixed share of the program's time: an
environment that renders slowly is shown less often. If there is no picture, `trouble` gives the reason.
"""

from __future__ import annotations

import functools
import inspect
import random
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from hud_publisher.intake.picture import EXPECTED, picture_of, pictures_of
from hud_publisher.integrations.time_share import TimeShare
from hud_publisher.protocol.errors import UnsupportedImageError
from hud_publisher.quiet import Quiet, explain

T = TypeVar("T")

#: Share of the program's time. Atari needs 0.05 %, and a pygame window of CartPole 4 % at 20 frames per second.
MAX_SHARE = 0.08
#: An environment that gave no picture, or raised, is asked again after this time.
RETRY_S = 10.0
#: Wrappers around wrappers; a chain that is longer is most likely a cycle.
_MAX_LEVELS = 64
#: How wrappers name the environment inside: Gymnasium, PettingZoo and RLlib's ParallelPettingZooEnv.
_INSIDE = ("env", "par_env", "aec_env")
#: Longest reason that is reported, in characters.
_MAX_REASON = 300

FIX = 'create the environment with render_mode="rgb_array"'


class RenderBudget:
    """Decides when another picture may be rendered, times it, and keeps the reason if there was none.

    Attributes:
        trouble: why the newest attempt gave no picture, in words for the user; "" if it gave one.
    """

    def __init__(self, quiet: Quiet, clock: Callable[[], float] = time.perf_counter) -> None:
        """Log each kind of trouble once to `quiet`; `clock` gives seconds."""
        self._quiet, self._clock = quiet, clock
        self._share = TimeShare(MAX_SHARE, clock)
        self.trouble = self._told = ""

    def is_affordable(self) -> bool:
        """Whether another picture keeps rendering within its share. Costs one clock read."""
        return self._share.is_free()

    def spend(self, render: Callable[[], T]) -> T | None:
        """Return the result of `render`, which raises if there is no picture; None in that case. Never raises."""
        began_at = self._clock()
        try:
            result = render()
        # An environment is foreign code: it may raise anything, and those with a pygame window call sys.exit.
        except (Exception, SystemExit) as error:
            self.trouble = reason_of(error)
            self._quiet.note("render", error, f"no picture: {self.trouble}")
            self._share.rest(RETRY_S)
            return None
        self._share.spend(began_at)
        self.trouble = ""
        return result

    def new_trouble(self) -> str | None:
        """Return `trouble` if it differs from the one that the last call saw; None if it does not."""
        told, self._told = self._told, self.trouble
        return None if told == self.trouble else self.trouble


def reason_of(error: BaseException) -> str:
    """Return the reason that an attempt to render gave no picture, for the page and the log."""
    is_ours = isinstance(error, UnsupportedImageError)
    return (str(error) if is_ours else f"render() raised {explain(error)}")[:_MAX_REASON]


def render(env: Any) -> Any:
    """Return the newest picture of one environment.

    Args:
        env: an environment with `render()`, of Gymnasium, PettingZoo or RLlib, with any wrappers around it.

    Raises:
        UnsupportedImageError: it gave none; the message gives the reason.
        Exception: its `render()` raised this, in a render mode.
    """
    levels = list(_levels(env))
    mode = next(filter(None, map(mode_of, levels)), None)
    if is_disturbing(mode):
        if (kept := _kept_frame(levels)) is not None:
            return picture_of(kept)
        levels = [level for level in levels if _is_plain(mode_of(level))]
        if not levels:
            raise UnsupportedImageError(why_not_called(mode))
    with unchanged_randomness(levels):
        shot = _called(levels, mode)
    return explained(mode, lambda: picture_of(shot))


def render_all(env: Any, index: int) -> dict[int, Any]:
    """Return the pictures of a vector environment that can only render all of its environments, by their index.

    Args:
        env: the vector environment.
        index: which of them must have a picture.

    Raises:
        UnsupportedImageError: that one gave none; the message gives the reason.
        Exception: `render()` raised this, in a render mode.
    """
    mode = mode_of(env)
    if is_disturbing(mode):
        raise UnsupportedImageError(why_not_called(mode))
    with unchanged_randomness([env]):
        shot = _called([env], mode)
    count = getattr(env, "num_envs", None) or (len(shot) if isinstance(shot, (list, tuple)) else 1)
    return explained(mode, lambda: pictures_of(shot, count, index))


def explained(mode: str | None, choose: Callable[[], T]) -> T:
    """Return the picture that `choose` finds in the result of `render()`.

    Raises:
        UnsupportedImageError: there is none; the message names the render mode and the fix.
    """
    try:
        return choose()
    except UnsupportedImageError as error:
        came = str(error).removeprefix(EXPECTED)
        if mode is None and came == "None":
            raise UnsupportedImageError(f"the environment has no render mode: {FIX}") from error
        where = "" if mode is None else f' in render mode "{mode}"'
        advice = "" if mode == "rgb_array" else f": {FIX}"
        raise UnsupportedImageError(f"render() returned {came}{where}{advice}") from error


def mode_of(env: Any) -> str | None:
    """Return the render mode of an environment; None if it has none."""
    mode = getattr(env, "render_mode", None)
    return mode if isinstance(mode, str) else None


def is_disturbing(mode: str | None) -> bool:
    """Whether a call of `render()` would draw a window, or take frames away from their reader."""
    return mode is not None and (mode == "human" or mode.endswith("_list"))


def why_not_called(mode: str | None) -> str:
    """Return the reason not to call `render()` in this mode."""
    if mode == "human":
        return f'render mode "human" draws a window and returns no picture: {FIX}'
    return f'render mode "{mode}" hands out each frame once, and HUD leaves them to your program: {FIX}'


@contextmanager
def unchanged_randomness(envs: list[Any]) -> Iterator[None]:
    """Set the generators of Python, of numpy and of the environments back to their state before the block.

    A picture may be drawn with random numbers (noise, particles). Training must draw the same ones with and without
    a viewer.
    """
    own = [env.__dict__["_np_random"] for env in envs if "_np_random" in getattr(env, "__dict__", ())]
    generators = [(one.bit_generator, one.bit_generator.state) for one in own if hasattr(one, "bit_generator")]
    numpy = sys.modules.get("numpy")
    of_python, of_numpy = random.getstate(), numpy.random.get_state() if numpy else None
    try:
        yield
    finally:
        random.setstate(of_python)
        if numpy:
            numpy.random.set_state(of_numpy)
        for generator, state in generators:
            generator.state = state


def _levels(env: Any) -> Iterator[Any]:
    """The environment, the one inside it, and so on."""
    for _ in range(_MAX_LEVELS):
        yield env
        own = getattr(env, "__dict__", {})  # not by getattr: wrappers pass attributes through
        inside = next((own[name] for name in _INSIDE if hasattr(own.get(name), "render")), None)
        if inside is None:
            return
        env = inside


def _kept_frame(levels: list[Any]) -> Any | None:
    """The newest frame in the lists that an environment keeps for its reader; it stays there.

    Gymnasium's RenderCollection keeps `frame_list`, and RecordVideo around it moves those to `render_history`; so the
    innermost list holds the newest frame. An environment that keeps frames by itself has a list of such a name.
    """
    for level in reversed(levels):
        for name, value in getattr(level, "__dict__", {}).items():
            is_kept = ("frame" in name or "render" in name) and isinstance(value, (list, deque))
            if is_kept and value and (hasattr(value[-1], "shape") or hasattr(value[-1], "getbands")):
                return value[-1]
    return None


def _is_plain(mode: str | None) -> bool:
    return mode is not None and mode.endswith(("_array", "_tuple"))


def _called(levels: list[Any], mode: str | None) -> Any:
    """Call `render()`; an error that comes from a missing method or a missing render mode is explained as such.

    RLlib's environments of several agents, for one, join the pictures of their members without a look at them.
    """
    try:
        return _call(levels)
    except NotImplementedError as error:
        name = type(levels[-1]).__name__
        raise UnsupportedImageError(f"{name} has no render() of its own: let it return an RGB array") from error
    except Exception as error:  # it is other people's code: it may raise anything
        if mode is None:
            raise UnsupportedImageError(f"the environment has no render mode: {FIX} ({reason_of(error)})") from error
        raise


def _call(levels: list[Any]) -> Any:
    """Call `render()`; if a wrapper calls the one inside in a wrong way, as RLlib's for PettingZoo do, call that.

    If each of them raises TypeError, that of the innermost is the environment's own.
    """
    for level in levels[:-1]:
        with suppress(TypeError):
            return _call_one(level)
    return _call_one(levels[-1])


def _call_one(env: Any) -> Any:
    if _takes_mode(getattr(env.render, "__func__", None)):
        return env.render(mode=mode_of(env) or "rgb_array")
    return env.render()


@functools.lru_cache(maxsize=64)
def _takes_mode(function: Any) -> bool:
    """Whether `render` has an argument `mode`, as environments of the time before Gymnasium do."""
    try:
        return function is not None and "mode" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
