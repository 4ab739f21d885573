"""The processes of a run: which died and why, which fell silent, and which are back.

A process that ends abnormally reports it (the stream `reports`). One that could not, because it was killed or out of
memory, is found by its silence: each process publishes its use of memory every few seconds (the stream `machine`), and
metrics count as well. The memory is bounded JSON. No I/O and no clock. Called by `judge`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from hud_web.monitor.detectors import Finding, Observation, is_number, span

#: Processes and nodes that are remembered; further ones are not judged.
MAX_PROCESSES = 64
#: A process is lost after this many of its usual intervals, and at least this time, without an entry: a busy process
#: may keep the interpreter lock for seconds.
INTERVALS = 3
LOST_MS = 16_000
#: Silence says something about one process only if another one was heard this much later.
LATER_MS = 8_000
#: Longer than this without an entry of any process is a pause of all.
PAUSE_MS = 12_000
LONGEST_INTERVAL_MS = 60_000
#: Other processes than RLlib's are awaited only if they were heard for this long: pools end their short-lived workers.
LONG_LIVED_MS = 60_000
#: After its death a process may send entries that were queued; later ones show that it goes on.
LAST_ENTRIES_MS = 3_000
#: Time between two looks for silent processes.
LOOK_MS = 1_000
#: Exceptions that say only that another process ended.
_VAGUE = ("ActorDiedError", "ActorUnavailableError", "RayActorError", "SystemExit", "")
#: Signals beyond 128 in the exit codes of shells and containers.
_SIGNALS = {129: "SIGHUP", 130: "SIGINT", 134: "SIGABRT", 135: "SIGBUS", 136: "SIGFPE", 137: "SIGKILL",
            139: "SIGSEGV", 143: "SIGTERM"}  # fmt: skip


@dataclass(slots=True)
class Processes:
    """Reports the death, the loss and the return of processes.

    Attributes:
        known: name → pid, last_ms, interval_ms, memory, node, state ("alive", "died", "lost" or "ended"), since_ms and
            the cause of its death.
        names: writer → the process that it belongs to.
        totals: node → its memory in bytes.
        looked_ms: when silent processes were looked for.
        heard_ms: when any process was heard.
        since_ms: since when at least one process is heard without a pause: after a pause of all, as if Redis was away,
            each has time to return.
    """

    known: dict[str, dict[str, Any]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    totals: dict[str, float] = field(default_factory=dict)
    looked_ms: int = 0
    heard_ms: int = 0
    since_ms: int = 0

    def hear(self, writer: str, now_ms: int) -> Iterator[Finding]:
        """Process the time of an entry that a writer sent, of metrics for example."""
        name = self.names.get(writer)
        process = self.known.get(name) if name is not None else None
        if name is None or process is None:
            return
        since = process["since_ms"]
        process["last_ms"] = now_ms
        self._note(now_ms)
        if process["state"] == "lost" or (process["state"] == "died" and now_ms - since > LAST_ENTRIES_MS):
            process["state"] = "alive"
            yield Finding("process_back", f"{_begin(name)} is back after {span(now_ms - since)}", _fields(name))

    def look(self, seen: Observation) -> Iterator[Finding]:
        """Process an entry of the streams `machine` and `reports`."""
        writer, _slash, stream = seen.writer.rpartition("/")
        if stream == "machine":
            yield from self._measure(seen, writer)
            yield from self.pass_time(seen.time_ms)
        elif stream == "reports":
            yield from self._report(seen, writer)

    def pass_time(self, now_ms: int) -> Iterator[Finding]:
        """Look for processes that are silent while others go on."""
        if now_ms - self.looked_ms < LOOK_MS:
            return
        self.looked_ms = now_ms
        for name, process in self.known.items():
            limit = max(LOST_MS, INTERVALS * process["interval_ms"])
            if not _is_role(name) and process["last_ms"] - process["since_ms"] < LONG_LIVED_MS:
                continue
            since = max(process["last_ms"], self.since_ms)
            if process["state"] == "alive" and now_ms - since > limit and self.heard_ms - since > LATER_MS:
                process |= {"state": "lost", "since_ms": process["last_ms"]}
                yield Finding("process_lost", self._last_heard(name, process), _fields(name))

    def lapse(self, last_batch_ms: int | None) -> Iterator[Finding]:
        """Process the lapse of the session's lease: name the process that was heard last, unless a death explains it.

        Args:
            last_batch_ms: when the newest batch of any process came; None if there was none.
        """
        states = {name: process["state"] for name, process in self.known.items()}
        if states.get("driver") == "died" or (states and set(states.values()) <= {"died", "ended"}):
            return
        alive = {name: process for name, process in self.known.items() if process["state"] == "alive"}
        newest = max((process["last_ms"] for process in alive.values()), default=0)
        if "driver" in alive and newest - alive["driver"]["last_ms"] < LOST_MS:
            name = "driver"  # ray ends the others with it
        elif alive:
            name = max(alive, key=lambda one: alive[one]["last_ms"])
        elif states or last_batch_ms is None:
            return
        else:
            text = f"The process was last heard at {clock_of(last_batch_ms)}; {_QUESTION}"
            yield Finding("process_lost", text, _fields(""))
            return
        alive[name] |= {"state": "lost", "since_ms": alive[name]["last_ms"]}
        yield Finding("process_lost", self._last_heard(name, alive[name]), _fields(name))

    # -- entries ------------------------------------------------------------------------------------------------------

    def _measure(self, seen: Observation, writer: str) -> Iterator[Finding]:
        for name, fields in measurements(seen).items():
            if name.startswith("node "):
                total = fields.get("memory_total_bytes")
                if is_number(total) and len(self.totals) < MAX_PROCESSES:
                    self.totals[name.removeprefix("node ")] = total
                continue
            process = self._of(name, writer, seen.time_ms)
            if process is None:
                continue
            # A process that ended by an exception may still be measured until its interpreter is gone.
            if process["state"] == "died" and process["pid"] in ("", _pid(writer)):
                continue
            yield from self._renew(name, process, _pid(writer), seen.time_ms)
            memory = fields.get("memory_bytes")
            process["memory"] = memory if is_number(memory) else process["memory"]
            process["node"] = str(fields.get("node", ""))[:80]

    def _note(self, now_ms: int) -> None:
        if now_ms - self.heard_ms > PAUSE_MS:
            self.since_ms = now_ms
        self.heard_ms = max(self.heard_ms, now_ms)

    def _renew(self, name: str, process: dict[str, Any], pid: str, now_ms: int) -> Iterator[Finding]:
        """Process a sign of life of a process, whose pid differs if it was started again."""
        is_new = process["pid"] not in ("", pid)
        gap = now_ms - process["last_ms"]
        state, since = process["state"], process["since_ms"]
        if gap > 0 and not is_new and state == "alive":
            process["interval_ms"] = min(LONGEST_INTERVAL_MS, max(gap, process["interval_ms"] * 9 // 10))
        process |= {"pid": pid, "last_ms": now_ms, "state": "alive"}
        self._note(now_ms)
        if state in ("lost", "died"):
            yield Finding("process_back", f"{_begin(name)} is back after {span(now_ms - since)}", _fields(name))
        elif is_new and state == "alive":
            yield Finding("restarted", f"{_begin(name)} was started again as another process", _fields(name))

    def _report(self, seen: Observation, writer: str) -> Iterator[Finding]:
        kind, name = seen.data.get("kind"), str(seen.data.get("process") or writer)[:80].replace("/", "-")
        if kind == "alert":
            title, text = str(seen.data.get("title") or "")[:120], str(seen.data.get("text") or "")[:500]
            yield Finding("alert", f"{title}: {text}" if title and text else title or text)
        if kind not in ("death", "restart", "end"):
            return
        process = self._of(name, writer, seen.time_ms)
        if kind == "death":
            if isinstance(seen.data.get("thread"), str):
                text = f"The thread {seen.data['thread'][:40]} died {clock_of(seen.time_ms)}: {_cause(seen.data)}"
                yield Finding("symptom", text, _fields(name), pattern="thread_died")
            else:
                yield from self._die(name, process, seen)
        elif kind == "restart":
            yield self._restarted(name, process, seen)
        elif process is not None:
            process["state"] = "ended" if process["state"] != "died" else "died"

    def _restarted(self, name: str, process: dict[str, Any] | None, seen: Observation) -> Finding:
        has_cause = any(part in seen.data for part in ("exception", "message", "exit_code"))
        cause = _cause(seen.data) if has_cause else ""
        if isinstance(seen.data.get("part"), str):  # the process goes on
            text = f"The {seen.data['part'][:40]} of {name if _is_role(name) else 'the process'} was made again"
        else:
            text = f"{_begin(name)} was restarted"
            if process is not None:
                cause = process["cause"] or cause
                process |= {"state": "alive", "last_ms": seen.time_ms, "pid": "", "cause": ""}
        return Finding("restarted", f"{text}: {cause}" if cause else text, _fields(name))

    def _die(self, name: str, process: dict[str, Any] | None, seen: Observation) -> Iterator[Finding]:
        exception = str(seen.data.get("exception", "")).rpartition(".")[2]
        if process is not None:
            if process["state"] == "died" and exception in _VAGUE and not seen.data.get("signal"):
                return  # the process told more itself
            was_lost = process["state"] == "lost"
            process |= {"state": "died", "since_ms": seen.time_ms, "cause": _cause(seen.data)}
            if was_lost:
                yield Finding("process_back", f"{_begin(name)} was found: it died", _fields(name))
        yield Finding("process_died", self._died(name, seen), _fields(name))

    def _of(self, name: str, writer: str, now_ms: int) -> dict[str, Any] | None:
        """Return the memory of a process, which is new if there is room; `writer` sent an entry about it."""
        process = self.known.get(name)
        if process is None:
            if len(self.known) >= MAX_PROCESSES:
                return None
            process = self.known[name] = {
                "pid": "", "last_ms": now_ms, "interval_ms": 0, "memory": None, "node": "", "state": "alive",
                "since_ms": now_ms, "cause": "",
            }  # fmt: skip
        if writer not in self.names and len(self.names) < 4 * MAX_PROCESSES and _is_of(writer, name):
            self.names[writer] = name
        return process

    # -- texts --------------------------------------------------------------------------------------------------------

    def _died(self, name: str, seen: Observation) -> str:
        at, signal = clock_of(seen.time_ms), seen.data.get("signal")
        where = f" ({name})" if _is_role(name) and (name != "driver" or len(self.known) > 1) else ""
        if signal == "SIGINT":
            return f"Interrupted {at} by Ctrl+C{where}"
        if signal in ("SIGTERM", "SIGHUP"):
            return f"Stopped {at} by {signal}{where}"
        return f"Died {at}: {_cause(seen.data)}{where}"

    def _last_heard(self, name: str, process: Mapping[str, Any]) -> str:
        text = f"{_begin(name)} was last heard at {clock_of(process['last_ms'])}"
        if is_number(process["memory"]):
            text += f" with {amount(process['memory'])}"
            if total := self.totals.get(process["node"]):
                text += f" of {amount(total)}"
        return f"{text}; {_QUESTION}"


_QUESTION = "it could not report: killed, or out of memory?"


def _cause(data: Mapping[str, Any]) -> str:
    """Return the cause of a death in a few words."""
    name = str(data.get("exception", "")).rpartition(".")[2][:60]
    line = str(data.get("message", "")).strip().partition("\n")[0].partition(". ")[0].rstrip(".")[:140]
    code = data.get("exit_code")
    if isinstance(data.get("signal"), str):
        return f"killed by {data['signal'][:20]}"
    if name and name != "SystemExit":
        if line and (name in _VAGUE or (name == "OutOfMemoryError" and "memory" in line)):
            return line
        return f"{name}: {line}" if line else name
    if isinstance(code, int) and code > 0:
        killed = f" (killed by {_SIGNALS[code]})" if code in _SIGNALS else ""
        return f"exit code {code}{killed}" + (f": {line}" if line else "")
    return line or "no cause known"


def _fields(name: str) -> tuple[str, ...]:
    """Return the field that shows the process's memory; it also tells the processes apart."""
    return (f"machine/{name.replace('/', '-')}/memory_bytes",)


def _is_role(name: str) -> bool:
    return name == "driver" or name.startswith(("env runner ", "learner"))


def _is_of(writer: str, name: str) -> bool:
    """Whether a writer belongs to a process: the driver also reports about its env runners and learners."""
    role, _dash, rest = writer.partition("-")
    if name == "driver":
        return role in ("driver", "w0")
    if name.startswith("env runner "):
        return bool(rest) and role == f"w{name.removeprefix('env runner ')}"
    return writer.replace("/", "-") == name


def _begin(name: str) -> str:
    """Return the name of a process as the beginning of a sentence; a writer's name means nothing to a reader."""
    return name[:1].upper() + name[1:] if _is_role(name) else "The process"


def _pid(writer: str) -> str:
    """Return the process id in a writer's name, `role-host-pid-random`."""
    parts = writer.rsplit("-", 2)
    return parts[1] if len(parts) == 3 else writer[-40:]


def measurements(seen: Observation) -> dict[str, dict[str, Any]]:
    """Return the fields of each process, and of each node as "node NAME", of an entry of the stream `machine`."""
    found: dict[str, dict[str, Any]] = {}
    for path, value in seen.data.items():
        steps = path.split("/", 2)
        if len(steps) == 3 and steps[0] == "machine":
            found.setdefault(steps[1], {})[steps[2]] = value
    return found


def clock_of(time_ms: int) -> str:
    """Return a time of day, UTC."""
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%H:%M:%S}"


def amount(value: float) -> str:
    """Return an amount of memory, such as "3.1 GB"."""
    return f"{value / 1e9:.1f} GB" if value >= 0.95e9 else f"{value / 1e6:.0f} MB"
