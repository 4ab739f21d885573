"""The life cycle of publishers and their threads: start, copy, pickle, fork, close, exit.

Keeps a list of the process's publishers and of their sender threads, so that a normal exit sends every queued entry,
also those of a publisher that was garbage-collected, and so that a forked child begins without anything of its parent.
`Publisher` derives from `Lifecycle`; Python calls this module at exit, and in the child after a fork. Rules for users:
docs/publisher.md, "Processes".
"""

from __future__ import annotations

import atexit
import base64
import logging
import math
import os
import secrets
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from hashlib import blake2b
from multiprocessing import process as multiprocessing
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from hud_publisher.once import log_once

if TYPE_CHECKING:
    from hud_publisher.intake.fields import Inbox
    from hud_publisher.intake.intake import Intake
    from hud_publisher.protocol.batch import Registered
    from hud_publisher.protocol.settings import Settings

logger = logging.getLogger("hud_publisher")

#: Time limit for closing, in seconds: one time-out of a server that does not answer.
CLOSE_S = 2.0
#: Longest time limit that a caller may choose, in seconds; far longer ones overflow the clock of `join`.
MAX_CLOSE_S = 3600.0
#: A publisher that was not used for this time gives its session up for another run of its process, in seconds.
FORGOTTEN_S = 1.0
_CLOSER = "hud-closer"
_SILENT = (
    "HUD: a copy of a publisher (copy.copy, copy.deepcopy) is silent, so that copied environments are not shown: use "
    "the original, or make another one with Publisher(run_id=…)"
)

#: Plain references: iterating a WeakSet raises while another thread adds to it.
_publishers: set[weakref.ref[Lifecycle]] = set()
#: Sender threads that may still run, with the intake of each.
_senders: dict[threading.Thread, Intake] = {}
#: Objects of the parent's threads. A forked child keeps them untouched: destroying one could close a connection of the
#: parent.
_inherited: list[object] = []
_is_forked = False
#: How many publishers each module made.
_made: Counter[str] = Counter()
_closer: threading.Thread | None = None


class Lifecycle:
    """The run id, the intake and the thread of a publisher, in each process that has it.

    Attributes:
        settings: the settings, from the environment and the arguments.
    """

    settings: Settings
    #: Attributes that a pickle and a copy have.
    _kept: tuple[str, ...] = ()

    def _begin(self, run_id: str | None) -> None:
        """Make the run id, unless it is given; called once, by the constructor."""
        self._place = None if run_id else _place_in_program()
        self._run_id = run_id or (None if self._place else secrets.token_urlsafe(18))
        # A forked, unpickled or spawned publisher joins a run that another process began: it never ends the session.
        self._is_joining = self._place is not None and _is_importing_again()
        self._is_silent = False
        self._finalizer: weakref.finalize[Any, Lifecycle] | None = None
        self._reset()

    def _reset(self) -> None:
        """Drop the thread and the state shared with it: in the constructor, and in the child of a fork."""
        # Re-entrant: a signal handler may close the publisher while the same thread starts it.
        self._start_lock = threading.RLock()
        self._intake: Intake | None = None
        self._thread: threading.Thread | None = None
        # An attribute here because a cache miss per attribute dominates the cost of `log`.
        self._inbox: Inbox | None = None
        self._is_closed = False
        self._is_enabled = bool(self.settings.redis_url or self.settings.hud_url) and not self._is_silent
        if self._is_enabled:
            self._load_modules()
        _publishers.add(weakref.ref(self, _publishers.discard))

    def _load_modules(self) -> None:
        """Load the modules of the sender before training begins."""

    def _make_sender(self) -> tuple[Intake, Callable[[], None]]:
        """Return a new intake, and the function that the thread runs. It must not refer to the publisher."""
        raise NotImplementedError

    @property
    def run_id(self) -> str:
        """Processes with the same run id share a session; a secret of the run."""
        return self._run_id or _run_id_of(self._place or "")

    # -- copies -------------------------------------------------------------------------------------------------------

    def _state_of_copy(self) -> dict[str, Any]:
        """Attributes that differ in another process of the run."""
        return {"_is_joining": True}

    def _start_anew_in_child(self) -> None:
        """Replace locks, queues and connections in the child of a fork, where the sender's thread does not exist."""
        was_closed = self._is_closed
        if self._finalizer is not None:
            self._finalizer.detach()
            self._finalizer = None
        # The run id stays unread: a child of the forkserver gets the secret behind it only after the fork.
        self.__dict__.update(self._state_of_copy())
        self._reset()
        self._is_closed = was_closed

    def __getstate__(self) -> dict[str, Any]:
        kept = {name: self.__dict__[name] for name in self._kept}
        return kept | self._state_of_copy() | {"_run_id": self.run_id, "_place": None}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        self._finalizer = None
        self._reset()

    def __copy__(self) -> Self:
        """Return a silent publisher: a tree search copies environments, and their copies must not be shown."""
        silent = object.__new__(type(self))
        silent.__setstate__(self.__getstate__() | {"_is_silent": True})
        return silent

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return a silent publisher, as `copy.copy` does."""
        return self.__copy__()

    # -- start and close ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the registration now instead of at first use. Returns at once."""
        self._start()

    def _start(self) -> Intake | None:
        """Start the thread if it does not run yet; return None if the publisher is disabled or closed."""
        if not self._is_enabled or self._is_closed:
            if self._is_silent:
                log_once("silent", _SILENT)
            return None
        with self._start_lock:
            if self._intake is None and not self._is_closed:
                self._start_thread()
            intake = self._intake
            if intake is not None and intake.close_by is None:
                self._inbox = intake.inbox("metrics")
            return intake

    def _start_thread(self) -> None:
        thread: threading.Thread | None = None
        try:
            intake, run = self._make_sender()
            thread = threading.Thread(target=_after_closing(run), name="hud-publisher", daemon=True)
            # Set before the thread runs: an interrupt between the two would leave a session that nothing ends.
            self._intake, self._thread = intake, thread
            for other in list(_senders):
                if other.ident is not None and not other.is_alive():
                    _senders.pop(other, None)
            _senders[thread] = intake
            _close_before_end()
            # Closes the session of a publisher that is garbage-collected without `close`.
            self._finalizer = weakref.finalize(self, _close_orphan, intake)
            self._finalizer.atexit = False
            thread.start()
        except BaseException as error:
            if thread is None or thread.ident is None:
                self._intake = self._thread = None
                if thread is not None:
                    _senders.pop(thread, None)
            if not isinstance(error, Exception):  # an interrupt: the next call starts the thread
                raise
            self._is_closed = True  # for example, no thread can be started while the interpreter ends
            logger.warning("HUD: could not start publishing, nothing will be shown: %r", error)

    @property
    def is_running(self) -> bool:
        """Whether the thread was started and not asked to end."""
        return self._intake is not None and self._intake.close_by is None

    def _note_end(self, error: BaseException | None) -> None:
        """Report the exception that is being handled while the publisher is closed, as in a `finally` clause."""

    def close(self, timeout_s: float = CLOSE_S, *, release: bool | None = None, wait: bool = True) -> None:
        """Send the queued entries, end the session if this process began it, stop the thread. Idempotent, never raises.

        If an exception is being handled, as in a `finally` clause, it is reported as the cause of the end.

        Args:
            timeout_s: time limit in seconds; entries that are not sent by then are dropped, counted and logged.
            release: whether to end the session for the whole run; None: if this process began it.
            wait: whether to wait until this is done; False: the thread continues for at most `timeout_s`.
        """
        try:
            timeout_s = min(max(0.0, float(timeout_s)), MAX_CLOSE_S)
            release = None if release is None else bool(release)
        except Exception:  # a foreign object's methods may raise anything
            timeout_s, release = CLOSE_S, None
        if math.isnan(timeout_s):
            timeout_s = CLOSE_S
        if self.is_running:
            self._note_end(sys.exc_info()[1])
        self._ask_to_close(time.monotonic() + timeout_s, release)
        intake, thread = self._intake, self._thread
        if wait and intake is not None and thread is not None and thread is not threading.current_thread():
            _wait_for(thread, intake, timeout_s + 0.1)

    def _ask_to_close(self, close_by: float, release: bool | None = None) -> None:
        """Tell the sender to end by then, on the monotonic clock; returns at once."""
        with self._start_lock:
            self._is_closed = True
            self._inbox = None
            intake = self._intake
        if intake is not None:
            intake.close(close_by, release)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _place_in_program() -> str | None:
    """Return which publisher of the program the caller makes, such as `__main__ 0`; None for one of a child alone.

    A child that multiprocessing spawns imports the program's modules again, so it makes their publishers again: they
    belong to the same run as those of the parent. A publisher that the child's own work makes belongs to another run.
    """
    is_child = _is_forked or multiprocessing.parent_process() is not None
    if is_child and not _is_importing_again():
        return None
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("hud_publisher."):
        frame = frame.f_back
    module = str(frame.f_globals.get("__name__", "")).replace("__mp_main__", "__main__")
    number = _made[module]
    _made[module] += 1
    return f"{module} {number}"


def _is_importing_again() -> bool:
    """Whether multiprocessing is setting this process up, and imports the program's modules once more."""
    return getattr(multiprocessing.current_process(), "_inheriting", False)


def _run_id_of(place: str) -> str:
    """Return a run id: a digest of the secret that multiprocessing hands to the children of a process.

    Python's own blake2, not a digest of OpenSSL: a fork while another thread is inside OpenSSL leaves its lock locked
    in the child, which would then wait forever.
    """
    secret = bytes(multiprocessing.current_process().authkey)
    return base64.urlsafe_b64encode(blake2b(secret + f"hud run {place}".encode(), digest_size=18).digest()).decode()


def _after_closing(run: Callable[[], None]) -> Callable[[], None]:
    """Return `run`, delayed until the sender threads that are closing now have ended.

    A cell of a notebook that runs again replaces its publisher by a new one. The old session must be released before
    the new run registers, or the new run is refused and waits for the lease.
    """
    closing = [thread for thread, intake in list(_senders.items()) if intake.close_by is not None and thread.is_alive()]

    def run_then() -> None:
        deadline = time.monotonic() + CLOSE_S
        for thread in closing:
            thread.join(max(0.0, deadline - time.monotonic()))
        run()

    return run_then if closing else run


def ask_for_session(channel: str, sid: str) -> bool | None:
    """Ask the publisher of this process that holds a session to give it up, if it was not used for FORGOTTEN_S.

    A notebook's cell that runs again makes a new run while something still refers to the old one's publisher.

    Returns:
        Whether it gives the session up; None: no publisher of this process holds it, or it shares its run.
    """
    for intake in list(_senders.values()):
        session = intake.report.session
        if session is not None and (session.channel, session.sid) == (channel, sid) and intake.may_yield:
            is_forgotten = intake.clock() - intake.used_at >= FORGOTTEN_S and not intake.has_more_than(0)
            if is_forgotten:
                intake.ask_to_yield()
            return is_forgotten
    return None


def wait_for_writers(session: Registered) -> None:
    """Wait until the sender threads that are closing now have sent their entries to this session."""
    deadline = time.monotonic() + CLOSE_S
    while time.monotonic() < deadline and any(
        intake.close_by is not None and (theirs := intake.report.session) and theirs.session_id == session.session_id
        for intake in list(_senders.values())
    ):
        time.sleep(0.005)


def _wait_for(thread: threading.Thread, intake: Intake, timeout_s: float) -> None:
    """Wait for a sender thread that was asked to close; log how many entries it holds back if it does not end."""
    if thread.is_alive():
        thread.join(timeout_s)
    if not thread.is_alive():
        return
    count = sum(intake.stats().pending.values())
    if count:
        logger.warning("HUD: %d entries were not sent: the server did not answer before closing timed out", count)


def publishers_in_use() -> list[Lifecycle]:
    """Return the publishers of this process that were not garbage-collected."""
    return [publisher for ref in tuple(_publishers) if (publisher := ref()) is not None]


def _close_orphan(intake: Intake) -> None:
    intake.close(time.monotonic() + CLOSE_S, None)


def close_all() -> None:
    """Close all publishers together, within CLOSE_S seconds."""
    close_by = time.monotonic() + CLOSE_S
    for publisher in publishers_in_use():
        publisher._ask_to_close(close_by)
    alive = [(thread, intake) for thread, intake in list(_senders.items()) if thread.is_alive()]
    for _thread, intake in alive:
        intake.close(close_by, None)
    for thread, intake in alive:
        _wait_for(thread, intake, max(0.0, close_by - time.monotonic()) + 0.1)


def _close_at_exit() -> None:
    """At a normal exit: first wait for the children of multiprocessing, which publish under the same session.

    multiprocessing waits for them in a separate `atexit` function, which may be due after this one. It does its work
    once, so calling it here changes the order only.
    """
    wait = getattr(sys.modules.get("multiprocessing.util"), "_exit_function", None)
    try:
        if wait is not None:
            wait()
        else:  # Python does not document that function
            for child in multiprocessing.active_children():
                if not child.daemon:
                    child.join()
    finally:
        close_all()


def _close_before_end() -> None:
    """Start the thread that closes this process's publishers, if the process may end without `atexit`."""
    global _closer
    if _closer is None and is_child():
        _closer = threading.Thread(target=_close_after_main_thread, name=_CLOSER, daemon=False)
        _closer.start()


def is_child() -> bool:
    """Whether this is a forked process or a child of multiprocessing: most of those end by `os._exit`.

    Before it does so, multiprocessing waits for non-daemon threads, which gives the closing thread time.
    """
    return _is_forked or _is_importing_again() or multiprocessing.parent_process() is not None


def _close_after_main_thread() -> None:
    main = threading.main_thread()
    main.join()
    while others := [
        thread
        for thread in threading.enumerate()
        if not thread.daemon and thread.name != _CLOSER and thread is not main and thread.is_alive()
    ]:
        for thread in others:
            thread.join()
    close_all()


def _start_anew_in_child() -> None:
    """After a fork: threads that do not exist here may hold locks, and connections belong to the parent."""
    global _closer, _is_forked
    _is_forked, _closer = True, None
    _inherited.append(dict(_senders))
    _senders.clear()
    for publisher in publishers_in_use():
        publisher._start_anew_in_child()


atexit.register(_close_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew_in_child)
