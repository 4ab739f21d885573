"""`Quiet`: keeps errors out of training. It swallows them, counts them, and logs each cause once.

Training calls this package between two steps, and this package calls foreign code: environments, models, the objects of
an LLM client. Either may raise anything, and training must not notice. Called by the integrations and by
rllib_integration.
"""

from __future__ import annotations

import functools
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from hud_publisher.once import MAX_CAUSES, LogOnce

P = ParamSpec("P")
R = TypeVar("R")


def explain(error: BaseException) -> str:
    """Return the type and the text of an error, on one line; never raises."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # the error is foreign code, too
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class Quiet:
    """Swallows the errors of one part of the program.

    It holds counts and a logger, and nothing of the run, so objects that use it can be copied and pickled.

    Attributes:
        causes: how often each cause occurred: (place, type of the error).
        log_once: logs a warning, unless its cause was logged before.
    """

    def __init__(self, logger: str, level: int = logging.WARNING) -> None:
        """Log to the logger of this name, at `level`."""
        self.causes: Counter[tuple[str, str]] = Counter()
        self.log_once = LogOnce(logger=logger, level=level)
        self._logger = logging.getLogger(logger)

    def note(self, place: str, error: BaseException, text: str | None = None) -> None:
        """Count an error that is swallowed, and log the first one of its place and type.

        Args:
            place: the failed method or call, for the log.
            error: the exception.
            text: logged instead of the place and the error.
        """
        cause = place, type(error).__name__
        if cause in self.causes or len(self.causes) < MAX_CAUSES:
            self.causes[cause] += 1
        text = f"{place} failed with {explain(error)}" if text is None else text
        # Text only: a log record that held the error would keep its frames, and so the algorithm, alive.
        traceback = error if self._logger.isEnabledFor(logging.DEBUG) else None
        self.log_once(str(cause), "HUD: %s. Training goes on; this is logged once.", text, error=traceback)

    def attempt(self, place: str, function: Callable[..., R], *args: Any) -> R | None:
        """Call code that may raise, such as an environment's; return None if it does."""
        try:
            return function(*args)
        except Exception as error:  # foreign code may raise anything
            self.note(place, error)
            return None

    def guarded(self, method: Callable[P, R]) -> Callable[P, R | None]:
        """Wrap a method that a training library calls: it returns None instead of raising."""

        @functools.wraps(method)
        def call(*args: P.args, **kwargs: P.kwargs) -> R | None:
            try:
                return method(*args, **kwargs)
            except Exception as error:  # no error may reach the library
                self.note(method.__name__, error)
                return None

        return call
