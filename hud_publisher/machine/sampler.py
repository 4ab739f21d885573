"""`Machine`: measures this process and, once per node of a run, the node, every INTERVAL_S.

One publisher of a process measures for each session, and one process of the session measures each node. Called by the
sender, in its thread; never raises.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from hud_publisher.machine import lock
from hud_publisher.machine.gpu import load
from hud_publisher.machine.node import NodeUse
from hud_publisher.machine.process import ProcessUse, readable

#: Time between two samples. A leak shows in nine of them, within a minute, and a sample costs about a millisecond.
INTERVAL_S = 5.0
#: (process id, session) → the publisher that measures the process for the session.
_owners: dict[tuple[int, str], Machine] = {}


class Machine:
    """The samples of one publisher.

    Attributes:
        name: of this process.

    Args:
        process: the name of this process, such as "env runner 2".
        host: the name of this node.
        others: name → process id of further processes of the run on this node; the caller may change it.
        interval_s: time between two samples, in seconds.
    """

    def __init__(
        self, process: str, host: str, others: Mapping[str, int] | None = None, *, interval_s: float = INTERVAL_S
    ) -> None:
        self.name, self._host, self._interval_s = plain(process), plain(host), interval_s
        self._others: Mapping[str, int] = {} if others is None else others
        self._uses: dict[tuple[str, int | None], ProcessUse] = {}
        self._node: NodeUse | None = None
        self._session_id = ""
        self._due_s = float("-inf")

    def sample(
        self, now_s: float, session_id: str, rest: Callable[[], None] = lambda: None
    ) -> tuple[dict[str, Any], int] | None:
        """Return the fields of a sample and how many there are; None if none is due.

        The first call for a session only begins to count, since rates need two samples.

        Args:
            now_s: a monotonic clock, in seconds.
            session_id: of the session that the sample is for.
            rest: called between two pieces of the work, each of less than a millisecond.
        """
        is_first = session_id != self._session_id
        if is_first:
            self.close()
            self._session_id = session_id
        elif now_s < self._due_s:
            return None
        self._due_s = now_s + self._interval_s
        is_owner = _owners.setdefault((os.getpid(), session_id), self) is self
        found: dict[str, dict[str, Any]] = {}
        own: list[tuple[str, int | None]] = [(self.name, None)] if is_owner else []
        for name, pid in [*own, *tuple(self._others.items())]:
            with readable():
                if fields := self._process(name, pid, now_s, rest):
                    found[plain(name)] = fields | {"node": self._host}
        with readable():
            if is_owner and lock.take(session_id):
                self._node = self._node or NodeUse(load())
                found[f"node {self._host}"] = self._node.sample(now_s, rest)
        if is_first or not found:
            return None
        return {"machine": found}, sum(map(_count, found.values()))

    def _process(self, name: str, pid: int | None, now_s: float, rest: Callable[[], None]) -> dict[str, Any]:
        use = self._uses.get((name, pid))
        if use is None:
            use = self._uses[name, pid] = ProcessUse(pid)
        if pid is not None and not use.is_running:
            return {}
        return use.sample(now_s, rest)

    def close(self) -> None:
        """Let another publisher or process measure for the session."""
        if self._session_id:
            key = os.getpid(), self._session_id
            if _owners.get(key) is self:
                del _owners[key]
                lock.free(self._session_id)
            self._session_id = ""


def plain(name: str) -> str:
    """Return a name that is one step of a field's path."""
    return name.replace("/", "-")


def _count(fields: Mapping[str, Any]) -> int:
    return sum(_count(value) if isinstance(value, dict) else 1 for value in fields.values())
