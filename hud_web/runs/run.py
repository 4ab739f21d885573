"""One run of the index: its session with labels, progress and compact columns, in the form for viewers.

No I/O. Made by `reading`; called by the catalogue, the search and the overview.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from hud_publisher.protocol.keys import Sid
from hud_web.runs.columns import Cells, Scalar
from hud_web.store.views import SessionView, in_short

#: Describing fields and characters of each that a list shows: a session may have 64 KB of them.
MAX_INFO, MAX_INFO_CHARS = 16, 200

Key = tuple[str, Sid]


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of a run.

    Attributes:
        tags: short texts.
        note: a text.
        pinned: whether it comes first, and is kept.
        changed: when the labels were stored, as Redis holds it; "" if the run has none.
    """

    tags: tuple[str, ...] = ()
    note: str = ""
    pinned: bool = False
    changed: str = ""


@dataclass(frozen=True, slots=True)
class RoleField:
    """A field of the state that plays a role.

    Attributes:
        path: with slashes; "" for no field.
        label: that a page shows for it.
        value: the newest one.
        stored: its name in the state.
    """

    path: str = ""
    label: str = ""
    value: float | None = None
    stored: bytes = b""


@dataclass(slots=True)
class Run:
    """One run.

    Attributes:
        session: its description and status.
        labels: of people.
        last_ms: time of its newest entry, None without one.
        newest_step: step of its newest entry.
        returns: the field with the role "return".
        env_steps: the field with the role "env_steps".
        speed: the field with the role "steps_per_s".
        rate: env steps per second between two looks, for a run without such a field.
        results: its state; None if it was not read.
        config: its configuration; None if it was not read.
    """

    session: SessionView
    labels: Labels = field(default_factory=Labels)
    last_ms: int | None = None
    newest_step: int | None = None
    returns: RoleField = field(default_factory=RoleField)
    env_steps: RoleField = field(default_factory=RoleField)
    speed: RoleField = field(default_factory=RoleField)
    rate: float | None = None
    results: Cells | None = None
    config: Cells | None = None

    @property
    def key(self) -> Key:
        """Channel and SID."""
        return self.session.channel, self.session.sid or Sid("0")

    @property
    def name(self) -> str:
        """`CHANNEL:SID`, as it is written in URLs."""
        return f"{self.session.channel}:{self.session.sid}"

    @property
    def step(self) -> int | None:
        """The number of env steps: of the field with that role, else of the newest entry."""
        value = self.env_steps.value
        return self.newest_step if value is None else int(value)

    @property
    def steps_per_s(self) -> float | None:
        """Env steps per second."""
        return self.rate if self.speed.value is None else self.speed.value

    def take_progress(self, known: Run) -> None:
        """Take the state and the configuration that an earlier read of the same run found."""
        self.last_ms, self.newest_step, self.rate = known.last_ms, known.newest_step, known.rate
        self.returns, self.env_steps, self.speed = known.returns, known.env_steps, known.speed
        self.results, self.config = known.results, known.config

    def duration_ms(self, now_ms: int) -> int | None:
        """Return the time from its start to its end, to its newest entry if it lapsed, or until now."""
        session = self.session
        if session.started_ms is None:
            return None
        end_ms = now_ms if session.status == "live" else session.ended_ms or self.last_ms
        return None if end_ms is None else max(0, end_ms - session.started_ms)

    def cell(self, column: str) -> Scalar | None:
        """Return the value of `config.PATH` or `result.PATH`."""
        kind, _, path = column.partition(".")
        cells = self.config if kind == "config" else self.results
        return None if cells is None else cells.get(path)

    def describe(self, columns: Iterable[str] = ()) -> dict[str, Any]:
        """Return an item of `/api/runs` with these columns."""
        found = {column: self.cell(column) for column in columns}
        return self.card() | {"columns": {column: value for column, value in found.items() if value is not None}}

    def card(self) -> dict[str, Any]:
        """Return the parts that `/api/runs` and `/stream/runs` share."""
        session, labels, returns, rate = self.session, self.labels, self.returns, self.steps_per_s
        info = list(session.info.items())[:MAX_INFO]
        return {
            "channel": session.channel, "sid": session.sid, "name": session.name, "status": session.status,
            "started_ms": session.started_ms, "ended_ms": session.ended_ms, "ended_by": session.ended_by,
            "last_ms": self.last_ms, "info": {name: text[:MAX_INFO_CHARS] for name, text in info},
            "verdict": in_short(session.verdict),
            "step": self.step, "steps_per_s": None if rate is None else float(f"{rate:.4g}"),
            "return": {"value": returns.value, "label": returns.label, "path": returns.path} if returns.path else None,
            "tags": list(labels.tags), "note": labels.note, "pinned": labels.pinned,
        }  # fmt: skip
