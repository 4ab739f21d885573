"""The session lock under test: a model that hypothesis drives against a real Redis, and many contenders at once, whose
appends are compared with the server's log.
"""

from __future__ import annotations

import contextlib
import copy
import os
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from hud_publisher.protocol import replies, scripts
from hud_publisher.protocol.batch import Batch, Published, Registered
from hud_publisher.protocol.entries import Limits, MetricsEntry
from hud_publisher.protocol.errors import SessionHeldError, SessionNotActiveError
from hud_publisher.protocol.keys import ChannelKeys, SessionId, split_session_id
from hud_publisher.protocol.scripts import ScriptCall
from hud_publisher.sinks.redis_client import connect, execute
from tests.faults.server_log import commands
from tests.fixtures.servers import Server, redis_binary, running, wait_until

KEYS = ChannelKeys("default")
#: No lease expires by itself while the model is driven: a rule lets time pass.
MODEL_LIMITS = Limits(ttl_ms=600_000)
RUNS = ("one", "two", "three", None)
#: Of a writer: the next batch, an earlier batch again, or a batch after a gap; and its number of entries.
BATCHES = st.tuples(st.sampled_from(("driver", "runner")), st.integers(-1, 2), st.integers(0, 3))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(redis_binary(), tmp_path_factory.mktemp("redis")) as server:
        yield server


@dataclass
class ModelSession:
    """The expected state of a session."""

    run: str | None
    is_ended: bool = False
    numbers: list[int] = field(default_factory=list)
    last: dict[str, int] = field(default_factory=dict)


@dataclass
class Model:
    """The expected state of a channel."""

    lock: SessionId | None = None
    fence: int = 0
    sessions: dict[int, ModelSession] = field(default_factory=dict)


class Channel(RuleBasedStateMachine):
    """A channel, the runs that want it, and all their possible actions in any order."""

    sessions: Bundle[Registered] = Bundle("sessions")

    def __init__(self, client: redis.Redis) -> None:
        super().__init__()
        self.redis = client
        self.redis.flushall()
        self.model = Model()
        self.highest = 0
        self.count = 0
        self.checkpoint: tuple[dict[bytes, bytes], Model] | None = None

    def run_script(self, call: ScriptCall) -> Any:
        return execute(self.redis, call)

    @initialize(ahead_ms=st.sampled_from([0, 3_600_000]))
    def begin(self, ahead_ms: int) -> None:
        """A clock that went back leaves a fence in the future."""
        if ahead_ms:
            self.highest = self.model.fence = self._now_ms() + ahead_ms
            self.redis.set(KEYS.fence, self.model.fence)

    def _now_ms(self) -> int:
        now: Any = self.redis.time()
        return int(now[0]) * 1000 + int(now[1]) // 1000

    # -- actions of runs ----------------------------------------------------------------------------------------------

    @rule(target=sessions, run=st.sampled_from(RUNS), takeover=st.booleans())
    def register(self, run: str | None, takeover: bool) -> Registered | MultipleResults[Registered]:
        model, newest = self.model, self.model.sessions.get(self.model.fence)
        is_same_run = run is not None and newest is not None and newest.run == run
        call = scripts.register("default", run_id=run, name=run or "", limits=MODEL_LIMITS, takeover=takeover)
        if model.lock and not is_same_run and not takeover:
            with pytest.raises(SessionHeldError) as refusal:
                replies.parse_register(self.run_script(call))
            assert refusal.value.holder.sid == str(model.fence)
            return multiple()
        got = replies.parse_register(self.run_script(call))
        if model.lock and is_same_run:
            assert (got.joined, got.session_id, got.sid) == (True, model.lock, str(model.fence))
            return got
        assert not got.joined
        if is_same_run and newest is not None and not newest.is_ended:
            assert got.sid == str(model.fence)
            assert got.session_id != model.lock
        else:
            assert int(got.sid) > self.highest
            if newest is not None:
                newest.is_ended = True
            self.highest = model.fence = int(got.sid)
            model.sessions[model.fence] = ModelSession(run)
        model.lock = got.session_id
        return got

    @rule(session=sessions, batch=BATCHES)
    def write_as_anybody(self, session: Registered, batch: tuple[str, int, int]) -> None:
        """Any present or past holder of the channel may try."""
        self._write(session.session_id, *batch)

    @precondition(lambda self: self.model.lock is not None)
    @rule(batches=st.lists(BATCHES, min_size=1, max_size=4))
    def write_as_holder(self, batches: list[tuple[str, int, int]]) -> None:
        assert self.model.lock is not None
        for batch in batches:
            self._write(self.model.lock, *batch)

    def _write(self, session_id: SessionId, writer: str, ahead: int, count: int) -> None:
        parts = split_session_id(session_id)
        assert parts is not None
        model, held = self.model, self.model.sessions.get(int(parts[1]))
        number = max(1, (held.last.get(writer, 0) if held else 0) + ahead)
        entries = tuple(MetricsEntry({"n": self.count + i}, 1, self.count + i) for i in range(1, count + 1))
        self.count += count
        call = scripts.publish(session_id, Batch(writer, number, entries), MODEL_LIMITS)
        if session_id != model.lock:
            with pytest.raises(SessionNotActiveError):
                replies.parse_publish(self.run_script(call))
            return
        reply: Published = replies.parse_publish(self.run_script(call))
        assert held is not None
        assert int(parts[1]) == max(model.sessions)
        assert reply.is_duplicate == (number <= held.last.get(writer, 0))
        if not reply.is_duplicate:
            held.last[writer] = number
            held.numbers += [entry.step or 0 for entry in entries]

    @rule(session=sessions)
    def beat(self, session: Registered) -> None:
        call = scripts.publish(session.session_id, Batch("driver"), MODEL_LIMITS)
        is_holder = session.session_id == self.model.lock
        with contextlib.nullcontext() if is_holder else pytest.raises(SessionNotActiveError):
            replies.parse_publish(self.run_script(call))

    @rule(session=sessions)
    def release(self, session: Registered) -> None:
        status, sid = replies.parse_release(self.run_script(scripts.release(session.session_id)))
        assert (status, sid) == (("released", session.sid) if self._end(session.session_id) else ("not held", None))

    @rule()
    def reset(self) -> None:
        holder = self.model.lock
        status, _sid = replies.parse_release(self.run_script(scripts.reset("default")))
        assert status == ("released" if holder and self._end(holder) else "not held")

    def _end(self, session_id: SessionId) -> bool:
        if session_id != self.model.lock:
            return False
        self.model.lock = None
        self.model.sessions[self.model.fence].is_ended = True
        return True

    # -- faults -------------------------------------------------------------------------------------------------------

    @rule()
    def pause_longer_than_the_lease(self) -> None:
        """Every run sleeps: the lease expires without notice to any run."""
        self.redis.pexpire(KEYS.lock, 0)
        self.model.lock = None

    @rule()
    def replicate(self) -> None:
        """The replica has every change up to this point."""
        keys: Any = self.redis.keys("*")
        self.checkpoint = ({key: self._dump(key) for key in keys}, copy.deepcopy(self.model))

    def _dump(self, key: bytes) -> bytes:
        found: Any = self.redis.dump(key)
        assert isinstance(found, bytes)
        return found

    @precondition(lambda self: self.checkpoint is not None)
    @rule()
    def fail_over(self) -> None:
        """The replica takes over: Redis forgets every change after `replicate`; runs and viewers remember them."""
        assert self.checkpoint is not None
        kept, model = self.checkpoint
        self.model = copy.deepcopy(model)
        pipe = self.redis.pipeline(transaction=True)
        pipe.flushall()
        for key, value in kept.items():
            pipe.restore(key, 600_000 if key == KEYS.lock.encode() else 0, value)
        pipe.execute()
        if self.highest > self._now_ms() + 1_000:
            # The fences come from a clock that was further ahead than an election takes, so Redis may reuse a lost one.
            self.highest = self.model.fence
        wait_until(lambda: self.highest == self.model.fence or self._now_ms() > self.highest, "the next millisecond")

    # -- invariants ---------------------------------------------------------------------------------------------------

    @invariant()
    def redis_is_as_the_model(self) -> None:
        model = self.model
        pipe = self.redis.pipeline(transaction=True)
        pipe.get(KEYS.lock)
        pipe.get(KEYS.fence)
        for sid in model.sessions:
            pipe.hget(KEYS.session(str(sid)).info, "ended")
            pipe.xrange(KEYS.session(str(sid)).stream("metrics"))
        lock, fence, *rest = pipe.execute()
        assert (lock.decode() if lock else None) == model.lock
        assert int(fence or 0) == model.fence
        for (sid, session), ended, entries in zip(model.sessions.items(), rest[::2], rest[1::2], strict=True):
            assert bool(ended) == session.is_ended, sid
            assert [int(fields[b"step"]) for _id, fields in entries] == session.numbers, sid


def drive(server: Server, examples: int, steps: int) -> None:
    with redis.Redis.from_url(server.url, protocol=2) as client:

        class ChannelHere(Channel):
            def __init__(self) -> None:
                super().__init__(client)

        chosen = settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            derandomize="HUD_FAULT_SEED" not in os.environ,
            suppress_health_check=list(HealthCheck),
        )
        run_state_machine_as_test(ChannelHere, settings=chosen)


def test_the_lock_behaves_as_its_model(server: Server) -> None:
    drive(server, examples=60, steps=40)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_lock_behaves_as_its_model_in_long_runs(server: Server) -> None:
    drive(server, examples=1_500, steps=80)


# -- many at once -----------------------------------------------------------------------------------------------------

#: A lease shorter than real pauses.
SHORT = Limits(ttl_ms=40)
CONTENDERS = 12


class Contender(threading.Thread):
    """A process of one of four runs: registers, writes, sleeps past its lease with a write in hand, tries again."""

    def __init__(self, server: Server, index: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.written, self.refused, self.held_off = 0, 0, 0
        self.error: BaseException | None = None
        self._client = connect(server.url, timeout_s=10)
        self._rng, self._stop_writing = random.Random(index), stop
        self._run, self._writer = f"run-{index % 4}", f"w{index}"
        self._number = 0

    def run(self) -> None:
        try:
            while not self._stop_writing.is_set():
                self._contend()
        except BaseException as error:
            self.error = error
        finally:
            self._client.close()

    def _contend(self) -> None:
        call = scripts.register(
            "default", run_id=self._run, name=self._run, limits=SHORT, takeover=self._rng.random() < 0.05
        )
        try:
            session = replies.parse_register(execute(self._client, call))
        except SessionHeldError:
            self.held_off += 1
            time.sleep(self._rng.uniform(0, 0.02))
            return
        with contextlib.suppress(SessionNotActiveError):
            for _ in range(self._rng.randrange(1, 30)):
                self._write(session)
            if self._rng.random() < 0.3:
                execute(self._client, scripts.release(session.session_id))
            return
        self.refused += 1

    def _write(self, session: Registered) -> None:
        self._number += 1
        entries = tuple(MetricsEntry({"n": i}, 1, i) for i in range(3))
        call = scripts.publish(session.session_id, Batch(self._writer, self._number, entries), SHORT)
        # The write is ready, and then its process is not scheduled: mostly for a moment, sometimes past the lease.
        time.sleep(self._rng.uniform(0.05, 0.12) if self._rng.random() < 0.08 else self._rng.uniform(0, 0.004))
        replies.parse_publish(execute(self._client, call))
        self.written += 1


def appends_outside_the_lock(server: Server) -> tuple[list[str], list[int]]:
    """Read the server's log: appends of a session that did not hold the lock, and the fences in the order of issue."""
    lock = KEYS.lock.encode()
    wrong: list[str] = []
    fences: list[int] = []
    holder: str | None = None
    for command in commands(server.folder):
        name, key = command[0].upper(), command[1] if len(command) > 1 else b""
        if key == lock:
            if name == b"SET":
                parts = split_session_id(command[2].decode())
                assert parts is not None
                holder = parts[1]
                if int(holder) != fences[-1]:
                    wrong.append(f"{holder} took the channel back after {fences[-1]} had begun")
            elif name in (b"DEL", b"UNLINK"):
                holder = None
        elif name == b"SET" and key == KEYS.fence.encode():
            fences.append(int(command[2]))
        elif name == b"XADD" and key.endswith(b":metrics"):
            sid = key.decode().split(":")[-2]
            if sid != holder:
                wrong.append(f"{sid} appended while {holder} held the channel")
    return wrong, fences


def test_no_two_sessions_entries_are_interleaved_however_many_contend(tmp_path: Path) -> None:
    with running(redis_binary(), tmp_path / "redis") as server:
        stop = threading.Event()
        contenders = [Contender(server, index, stop) for index in range(CONTENDERS)]
        for contender in contenders:
            contender.start()
        time.sleep(4)
        stop.set()
        for contender in contenders:
            contender.join(30)
        assert [contender.error for contender in contenders if contender.error] == []
        wrong, fences = appends_outside_the_lock(server)
    assert wrong == []
    assert fences == sorted(set(fences))
    # Otherwise there was no contention.
    assert len(fences) > 10
    assert sum(contender.written for contender in contenders) > 200
    assert sum(contender.refused for contender in contenders) > 5
    assert sum(contender.held_off for contender in contenders) > 50


def test_a_fence_that_a_failover_forgot_is_never_given_again(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        primary, replica = (
            stack.enter_context(running(redis_binary(), tmp_path / name, "--repl-diskless-sync-delay", "0"))
            for name in ("primary", "replica")
        )
        first, second = (stack.enter_context(contextlib.closing(connect(node.url))) for node in (primary, replica))
        second.execute_command("REPLICAOF", "127.0.0.1", primary.port)
        call = scripts.register("default", run_id="one", name="one", limits=MODEL_LIMITS)
        before = replies.parse_register(execute(first, call))
        wait_until(lambda: second.execute_command("GET", KEYS.fence) == before.sid.encode(), "the replica to have it")
        second.execute_command("REPLICAOF", "NO", "ONE")
        lost = [_take_over(first, f"lost-{turn}") for turn in range(3)]
        primary.kill()
        assert not _can_write(second, lost[-1])
        # Three sessions within a millisecond are ahead of the clock; no failover is as short as that.
        wait_until(lambda: _time_ms(second) > int(lost[-1].sid), "the clock to have passed the lost fences")
        after = _take_over(second, "after")
        assert int(after.sid) > int(lost[-1].sid) > int(before.sid)
        assert not any(_can_write(second, session) for session in (before, *lost))
        assert _can_write(second, after)


def _time_ms(client: Any) -> int:
    seconds, microseconds = client.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


def _take_over(client: Any, run: str) -> Registered:
    call = scripts.register("default", run_id=run, name=run, limits=MODEL_LIMITS, takeover=True)
    return replies.parse_register(execute(client, call))


def _can_write(client: Any, session: Registered) -> bool:
    call = scripts.publish(session.session_id, Batch("w", 0, (MetricsEntry({"n": 1}, 1),)), MODEL_LIMITS)
    try:
        replies.parse_publish(execute(client, call))
    except SessionNotActiveError:
        return False
    return True
