"""A small HUD installation that a plan breaks: one Redis, two web replicas, three writers of one run, four viewers, and
a proxy on every connection between them. All parts are real processes on loopback.

`World(plan, folder).run()` carries out the plan, heals everything, waits until every logged entry is acknowledged and
seen, and returns the history. Each part has one worker thread, so a slow restart delays no other part.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import redis
import redis.exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from hud_publisher.protocol import scripts
from hud_publisher.protocol.keys import ChannelKeys
from hud_publisher.sinks.redis_client import connect, execute
from hud_web.store.sse import order
from tests.faults.history import STREAMS, History, Number, Session
from tests.faults.intruder import Intruder
from tests.faults.ledger import read_sessions, wipe
from tests.faults.plan import DURATION_S, REPLICAS, WAYS, WRITERS, Action, Plan
from tests.faults.viewer import Viewer
from tests.faults.writer import Assignment, acknowledged
from tests.fixtures.fault_proxy import FaultProxy
from tests.fixtures.servers import Server, redis_binary, wait_until
from tests.fixtures.web import WebServer

KEYS = ChannelKeys("default")
#: Redis waits five seconds for further replicas by default.
SYNC_AT_ONCE = ("--repl-diskless-sync-delay", "0")
#: The test's connection to Redis. It has no faults and leads to the primary.
DIRECT = "direct"
RUN = "the-run"
#: Long enough that one lost beat does not end it, short enough that leases lapse under most faults.
TTL_S = 2
#: Per writer: three of them log 15,000 entries in DURATION_S.
ENTRIES_PER_S = 850
FPS = 20
#: Viewers that connect at the start: query, and whether they come and go. One more viewer connects late.
FROM_START = (("", False), ("frames=0", False), ("fps=5", True))
VIEWERS_FROM_START = len(FROM_START)
#: The longest retry delay of a publisher after many failures, and a margin for a busy machine.
DRAIN_DEADLINE_S = 90.0
SEEN_DEADLINE_S = 60.0
#: A child closes its publisher within two seconds; the rest is for a busy machine.
CHILD_DEADLINE_S = 60.0


class Writer:
    """One child process that logs."""

    def __init__(self, assignment: Assignment, folder: Path) -> None:
        self.assignment = assignment
        self._lines: list[str] = []
        with (folder / f"{assignment.writer}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.writer", json.dumps(_as_dict(assignment))],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True,
            )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.append(line.strip())

    def tell(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def has_said(self, text: str) -> bool:
        if self.process.poll():
            raise AssertionError(f"writer {self.assignment.writer} ended with {self.process.returncode}")
        return text in self._lines

    def end(self) -> dict[str, Any]:
        """Wait for its end after `close`; return its statistics."""
        self.process.wait(30)
        self._reader.join(5)
        self._close_pipes()
        stats: dict[str, Any] = json.loads(self._lines[-1])
        return stats

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)
        self._reader.join(5)
        self._close_pipes()

    def end_group(self) -> None:
        """Kill the process and all its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def _close_pipes(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


@dataclass(frozen=True, slots=True)
class Child:
    """A process that a writer started; it locks a file until it ends."""

    assignment: Assignment
    parent: Writer

    def has_ended(self) -> bool:
        """Whether its process is gone; a parent that was killed may never have started it."""
        path = Path(f"{self.assignment.notes}.lock")
        if not path.exists():
            return self.parent.process.poll() is not None
        with path.open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True


def _as_dict(assignment: Assignment) -> dict[str, Any]:
    return {name: getattr(assignment, name) for name in Assignment.__slots__}


@dataclass
class Outcome:
    """The outcome of a run under faults."""

    history: History
    violations: list[str]
    acknowledged: int
    retries: int = 0
    duplicates: int = 0
    connections: int = 0
    stats: dict[str, Any] = field(default_factory=dict)


class World:
    """Everything of one run; `run` once, then `close`."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan, self._folder = plan, folder
        self._rng = random.Random(plan.seed)
        self._hands = {name: ThreadPoolExecutor(1) for name in ("redis", "net", "session", *REPLICAS, *WRITERS)}
        self._closing = contextlib.ExitStack()
        for hand in self._hands.values():
            self._closing.callback(hand.shutdown)
        self.redis = Server(redis_binary(), folder / "redis", *SYNC_AT_ONCE)
        self._closing.callback(self.redis.kill)
        self.proxies = {name: self._proxy(0) for name in (*WAYS, DIRECT)}
        self._aim_at_redis()
        self._direct = redis.Redis(
            port=self.proxies[DIRECT].port, socket_timeout=1.0, retry=Retry(NoBackoff(), 0), protocol=2
        )
        self._closing.callback(self._direct.close)
        self.webs: dict[str, WebServer] = {}
        list(map(Future.result, [self._hands[name].submit(self._first_start, name) for name in REPLICAS]))
        self.writers: dict[str, Writer] = {}
        self._all_writers: list[Writer] = []
        self._children: list[Child] = []
        self._wiped: list[Session] = []
        self.viewers: list[Viewer] = []
        self._began_s: float | None = None
        self._intruder: Intruder | None = None
        self._intruders: list[Intruder] = []
        self._at_takeover: dict[str, int] = {}

    def _proxy(self, port: int) -> FaultProxy:
        return self._closing.enter_context(FaultProxy(port))

    def _first_start(self, name: str) -> None:
        environment = {"HUD_SESSION_TTL": str(TTL_S), "HUD_LOG_LEVEL": "error"}
        self.webs[name] = WebServer(self.proxies[name].redis_url, environment=environment)
        self._closing.callback(self.webs[name].close)
        self._aim_at(name)

    def _aim_at_redis(self) -> None:
        """Imitate a service address, which leads to the primary after a failover."""
        for name in ("w1", "w2", *REPLICAS, DIRECT):
            self.proxies[name].target_port = self.redis.port

    def _aim_at(self, name: str) -> None:
        """A restarted replica has another port, as it has another address in a cluster."""
        self.proxies[f"view{name[-1]}"].target_port = self.webs[name].port
        if name == "web1":
            self.proxies["h1"].target_port = self.webs[name].port

    def close(self) -> None:
        for viewer in self.viewers:
            viewer.close()
        for writer in self._all_writers:
            writer.kill()
            writer.end_group()
        self._closing.close()

    # -- the run ------------------------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        for name in WRITERS:
            self._start_writer(name, name)
        for query, is_restless in FROM_START:
            self._watch(query, is_restless)
        wait_until(lambda: all(writer.has_said("ready") for writer in self.writers.values()), "the writers",
                   deadline_s=60)  # fmt: skip
        self._act()
        self._heal()
        for writer in self.writers.values():
            writer.tell("drain")
        for name, writer in self.writers.items():
            wait_until(partial(writer.has_said, "drained"), f"all of {name} to be acknowledged",
                       deadline_s=DRAIN_DEADLINE_S)  # fmt: skip
        for child in self._children:
            wait_until(child.has_ended, f"the end of child {child.assignment.writer}", deadline_s=CHILD_DEADLINE_S)
        self._await_viewers()
        for viewer in self.viewers:
            viewer.close()
        return self._judge()

    def _watch(self, query: str, is_restless: bool) -> None:
        ports = [self.proxies[name].port for name in ("view1", "view2")]
        rng = random.Random(self._rng.random())
        self.viewers.append(Viewer(ports, rng, query=query, is_restless=is_restless))

    def _start_writer(self, name: str, field_name: str) -> None:
        proxy = self.proxies[name]
        way = {"HUD_URL": proxy.url} if name.startswith("h") else {"REDIS_URL": proxy.redis_url}
        environment = way | {
            "HUD_RUN_ID": RUN, "HUD_SESSION_TTL": str(TTL_S), "HUD_FRAMES": "always", "HUD_FPS": str(FPS),
            "HUD_WHEN_HELD": "wait",  # the schedule tests that a run whose channel was taken comes back
            "HUD_MACHINE": "0",  # the state is compared with the entries of training
        }  # fmt: skip
        fps = FPS if name == "w1" else 0
        left_s = DURATION_S if self._began_s is None else self._began_s + DURATION_S - time.monotonic()
        total = int(ENTRIES_PER_S * max(0.0, left_s))
        notes = self._folder / f"{field_name}.notes"
        self.writers[name] = Writer(
            Assignment(field_name, environment, str(notes), ENTRIES_PER_S, total, fps), self._folder
        )
        self._all_writers.append(self.writers[name])

    def _act(self) -> None:
        """Carry out each action at its time, and start a late viewer."""
        self._began_s = began = time.monotonic()
        late = Action(self._rng.uniform(1.0, DURATION_S - 1.0), "come_late")
        done: list[Future[None]] = []
        for action in sorted([*self.plan.actions, late]):
            time.sleep(max(0.0, began + action.at_s - time.monotonic()))
            done.append(self._hands[_hand_of(action)].submit(self._do, action))
        time.sleep(max(0.0, began + DURATION_S - time.monotonic()))
        for future in done:
            future.result(60)

    def _do(self, action: Action) -> None:
        if action.verb == "fork_writer":
            self._fork_writer(action.target, int(action.value), action.how)
            return
        method: Callable[[str, float], None] = getattr(self, f"_{action.verb}")
        method(action.target, action.value)

    def _heal(self) -> None:
        """Remove every fault; the effects of the faults on state remain."""
        for proxy in self.proxies.values():
            proxy.heal()
        self._thaw_redis("", 0)
        self._start_redis("", 0)
        self._direct.config_set("maxmemory", 0)
        self._leave("release", 0)
        for name in REPLICAS:
            self._thaw_web(name, 0)
        list(map(Future.result, [self._hands[name].submit(self._start_web, name, 0) for name in REPLICAS]))
        for writer in self.writers.values():
            writer.process.send_signal(signal.SIGCONT)
        for viewer in self.viewers:
            viewer.is_restless = False

    def _await_viewers(self) -> None:
        """Until each viewer has the last entry of every stream, and the newest frame if it watches frames."""
        sid = self._direct.get(KEYS.fence)
        assert isinstance(sid, bytes)
        keys = KEYS.session(sid.decode())
        last = {name: self._last_id(keys.stream(name)) for name in (*STREAMS, "frames")}

        def has_all(viewer: Viewer) -> bool:
            position = viewer.position()
            if position is None or position.sid != sid.decode():
                return False
            if any(order(position.of(stream)) < order(last[stream]) for stream in STREAMS):
                return False
            return "frames=0" in viewer.query or last["frames"] in ("0-0", viewer.newest_frame())

        for index, viewer in enumerate(self.viewers):
            wait_until(partial(has_all, viewer), f"viewer {index} to see the last of {last}",
                       deadline_s=SEEN_DEADLINE_S)  # fmt: skip

    def _last_id(self, key: str) -> str:
        found: Any = self._direct.xrevrange(key, count=1)
        return found[0][0].decode() if found else "0-0"

    def _judge(self) -> Outcome:
        everyone = list(self.writers.values())
        for writer in everyone[1:]:
            writer.tell("close")
        everyone[0].tell("release")
        sessions = [*self._wiped, *read_sessions(self._direct)]
        seen = [viewer.seen() for viewer in self.viewers]
        history = History(sessions, [], {}, seen, self._at_takeover, {session.sid for session in self._wiped})
        for process in (*self._all_writers, *self._children):
            history.acknowledged += acknowledged(process.assignment)
            history.runs[process.assignment.writer] = RUN
        for intruder in self._intruders:
            history.acknowledged += intruder.acknowledged
            history.runs[intruder.writer] = intruder.run_name
        outcome = Outcome(history, history.violations(), len(history.acknowledged))
        for writer in everyone:
            stats = writer.end()
            outcome.retries += stats["retries"]
            outcome.duplicates += stats["duplicates"]
            outcome.violations += _of_stats(writer, stats, history.acknowledged)
        outcome.connections = sum(event.name == "connect" for seen in history.viewers for event in seen)
        return outcome

    # -- faults -------------------------------------------------------------------------------------------------------

    def _kill_redis(self, _target: str, _value: float) -> None:
        self.redis.kill()

    def _start_redis(self, _target: str, _value: float) -> None:
        if self.redis.process is None or self.redis.process.poll() is not None:
            self.redis.start()

    def _freeze_redis(self, _target: str, _value: float) -> None:
        self.redis.stop()

    def _thaw_redis(self, _target: str, _value: float) -> None:
        self.redis.cont()

    def _fill_redis(self, _target: str, _value: float) -> None:
        with _away():
            self._direct.config_set("maxmemory", 1)

    def _empty_redis(self, _target: str, _value: float) -> None:
        with _away():
            self._direct.config_set("maxmemory", 0)

    def _flush_redis(self, _target: str, _value: float) -> None:
        assert self._began_s is not None
        if time.monotonic() > self._began_s + DURATION_S - 1.0:
            return  # an earlier action took long; without later entries there would be no session to return to
        with _away():
            self._wiped += wipe(self._direct)

    def _fail_over_redis(self, _target: str, _value: float) -> None:
        """A planned failover: a replica catches up while the primary pauses writes, and the address follows."""
        old, port = self.redis, str(self.redis.port)
        with _away():
            self._direct.ping()  # without a primary there is no planned failover
            spare = Server(redis_binary(), self._folder / "spare", "--replicaof", "127.0.0.1", port, *SYNC_AT_ONCE)
            self._closing.callback(spare.kill)
            with contextlib.closing(_client(spare.port)) as new:
                wait_until(lambda: _role(new) == ("slave", "connected"), "the spare to follow", deadline_s=20)
                wait_until(lambda: _has_replica(self._direct), "the primary to know its spare", deadline_s=20)
                self._direct.execute_command("FAILOVER", "TO", "127.0.0.1", str(spare.port))
                wait_until(lambda: _role(new)[0] == "master", "the spare to become primary", deadline_s=20)
            self.redis, spare.extra = spare, SYNC_AT_ONCE  # it must not start again as a replica
            self._aim_at_redis()
            for name in ("w1", "w2", *REPLICAS, DIRECT):
                self.proxies[name].cut()
            old.kill()

    def _flush_scripts(self, _target: str, _value: float) -> None:
        with _away():
            self._direct.script_flush()

    def _kill_web(self, name: str, _value: float) -> None:
        self.webs[name].close()

    def _end_web(self, name: str, _value: float) -> None:
        process = self.webs[name].process
        assert process is not None
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            self.webs[name].terminate(timeout_s=30)

    def _start_web(self, name: str, _value: float) -> None:
        process = self.webs[name].process
        assert process is not None
        if process.poll() is not None:
            self.webs[name].port = 0
            self.webs[name].start()
            self._aim_at(name)

    def _freeze_web(self, name: str, _value: float) -> None:
        self._signal_web(name, signal.SIGSTOP)

    def _thaw_web(self, name: str, _value: float) -> None:
        self._signal_web(name, signal.SIGCONT)

    def _signal_web(self, name: str, number: int) -> None:
        process = self.webs[name].process
        assert process is not None
        process.send_signal(number)

    def _replace_writer(self, name: str, _value: float) -> None:
        """SIGKILL, and another process of the same run in its place, as Ray does with an env runner."""
        self.writers[name].kill()
        field_name = f"{self.writers[name].assignment.writer}x"
        self._start_writer(name, field_name)
        writer = self.writers[name]
        wait_until(partial(writer.has_said, "ready"), "the writer's successor", deadline_s=60)

    def _fork_writer(self, name: str, count: int, how: str) -> None:
        parent = self.writers[name]
        field_name = f"{parent.assignment.writer}c{len(self._children)}"
        notes = str(self._folder / f"{field_name}.notes")
        self._children.append(Child(Assignment(field_name, {}, notes, 0, count), parent))
        parent.tell(f"child {how} {field_name} {notes} {count}")

    def _copy_writer(self, name: str, _value: float) -> None:
        self.writers[name].tell("copy")

    def _freeze_writer(self, name: str, _value: float) -> None:
        self.writers[name].process.send_signal(signal.SIGSTOP)

    def _thaw_writer(self, name: str, _value: float) -> None:
        self.writers[name].process.send_signal(signal.SIGCONT)

    def _cut(self, way: str, _value: float) -> None:
        self.proxies[way].cut()

    def _cut_after(self, way: str, value: float) -> None:
        self.proxies[way].cut_replies_after = int(value)

    def _swallow(self, way: str, _value: float) -> None:
        self.proxies[way].is_swallowing = True

    def _deafen(self, way: str, _value: float) -> None:
        self.proxies[way].is_deaf = True

    def _delay(self, way: str, value: float) -> None:
        self.proxies[way].delay_s = value

    def _throttle(self, way: str, value: float) -> None:
        self.proxies[way].bytes_per_s = self.proxies[way].replies_per_s = value

    def _heal_way(self, way: str, _value: float) -> None:
        self.proxies[way].heal()

    def _half_open_server(self, way: str, _value: float) -> None:
        self.proxies[way].half_open("server")

    def _half_open_client(self, way: str, _value: float) -> None:
        self.proxies[way].half_open("client")

    def _take_over(self, _target: str, _value: float) -> None:
        """Another run takes the channel; afterwards the previous session must not grow."""
        with _away():
            self._intruder = Intruder(self.proxies[DIRECT].redis_url, f"b{len(self._intruders)}", ttl_ms=TTL_S * 1000)
            self._intruders.append(self._intruder)
            before: Any = self._direct.zrange(KEYS.sessions, 0, 1, desc=True)
            if len(before) == 2:
                keys = KEYS.session(before[1].decode())
                lengths: list[Any] = [self._direct.xlen(keys.stream(stream)) for stream in STREAMS]
                self._at_takeover[before[1].decode()] = sum(lengths)

    def _leave(self, how: str, _value: float) -> None:
        if self._intruder is not None:
            self._intruder.leave(releases=how == "release")
            self._intruder = None

    def _reset(self, _target: str, _value: float) -> None:
        with _away(), contextlib.closing(connect(self.proxies[DIRECT].redis_url, timeout_s=1.0)) as client:
            execute(client, scripts.reset("default"))

    def _lapse(self, _target: str, _value: float) -> None:
        with _away():
            self._direct.pexpire(KEYS.lock, 1)

    def _come_late(self, _target: str, _value: float) -> None:
        self._watch("", is_restless=True)


def _away() -> contextlib.AbstractContextManager[None]:
    """Redis may be down at the time of a command: then this fault does not happen."""
    return contextlib.suppress(redis.exceptions.RedisError, OSError)


def _client(port: int) -> redis.Redis:
    return redis.Redis(port=port, socket_timeout=1.0, retry=Retry(NoBackoff(), 0), protocol=2)


def _role(client: redis.Redis) -> tuple[str, str]:
    """ "master" or "slave", and a replica's state of replication."""
    reply: Any = client.execute_command("ROLE")
    return reply[0].decode(), reply[3].decode() if reply[0] == b"slave" else ""


def _has_replica(client: redis.Redis) -> bool:
    found: Any = client.info("replication")
    return any("online" in str(found.get(f"slave{number}")) for number in range(2))


def _hand_of(action: Action) -> str:
    if action.target in (*REPLICAS, *WRITERS) and action.verb.endswith(("_web", "_writer")):
        return action.target
    if action.verb.endswith(("_redis", "_scripts")):
        return "redis"
    return "session" if action.verb in ("take_over", "leave", "reset", "lapse") else "net"


def _of_stats(writer: Writer, stats: dict[str, Any], acknowledged: list[tuple[str, Number]]) -> Iterator[str]:
    """The statistics of a publisher are true, and it dropped nothing."""
    name = writer.assignment.writer
    for stream in STREAMS:
        noted = sum(number.writer == name and number.stream == stream for _sid, number in acknowledged)
        if stats["sent"].get(stream, 0) != noted:
            yield f"{name} says that {stats['sent'].get(stream, 0)} {stream} were acknowledged; it was told of {noted}"
        if stats["sent"].get(stream, 0) != stats["taken"].get(stream, 0):
            yield f"{name} took {stats['taken'].get(stream)} {stream} and sent {stats['sent'].get(stream)}"
        dropped = {cause: count for cause, count in stats["dropped"].items() if cause.startswith(stream)}
        if dropped:
            yield f"{name} dropped {dropped}"
