"""Runs in a fake Redis: written through the protocol's scripts, read as the web tier does."""

from __future__ import annotations

import io
from typing import Any

import fakeredis
from PIL import Image

from hud_publisher.protocol import replies, scripts
from hud_publisher.protocol.batch import Batch
from hud_publisher.protocol.configuration import encode_sections
from hud_publisher.protocol.entries import FrameEntry, Limits, MetricsEntry
from hud_publisher.protocol.keys import CHANNELS, ChannelKeys, Sid, split_session_id
from hud_web.runs.run import Key
from hud_web.store.store import Store

LIMITS = Limits()


def jpeg(colour: str = "red", size: tuple[int, int] = (64, 48), quality: int = 75) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


class Place:
    """A Redis with runs.

    Attributes:
        redis: a client of the store's Redis.
    """

    def __init__(self) -> None:
        server = fakeredis.FakeServer()
        self.redis = fakeredis.FakeRedis(server=server, protocol=2)
        self._fake = server
        self._sessions: dict[Key, Any] = {}
        self._batches = 0

    def store(self) -> Store:
        """The store of a replica."""
        return Store(fakeredis.FakeAsyncRedis(server=self._fake, protocol=2))

    def _run(self, call: scripts.ScriptCall) -> Any:
        return self.redis.eval(call.script.source, len(call.keys), *call.keys, *call.args)

    def begin(self, channel: str = "a", *, name: str = "run", config: Any = None, **options: Any) -> Key:
        """Register a run."""
        call = scripts.register(channel, run_id=None, name=name, limits=LIMITS, **options)
        session_id = replies.parse_register(self._run(call)).session_id
        parts = split_session_id(session_id)
        assert parts is not None
        self._sessions[parts] = session_id
        self.touch(channel)
        if config is not None:
            self._run(scripts.describe(session_id, encode_sections({"config": config}), LIMITS))
        return parts

    def touch(self, channel: str) -> None:
        """Record activity of a channel."""
        self._run(scripts.touch(channel, LIMITS))

    def log(self, key: Key, data: dict[str, Any] | None = None, *, step: int | None = None, image: bytes = b"") -> None:
        """Publish an entry of metrics, and a frame."""
        self._batches += 1
        entries: list[Any] = [] if data is None else [MetricsEntry(data, 1, step)]
        if image:
            entries.append(FrameEntry(image, 1_700_000_000_000 + self._batches, step=step))
        self._run(scripts.publish(self._sessions[key], Batch("w", self._batches, tuple(entries)), LIMITS))

    def end(self, key: Key) -> None:
        """Release a run's channel."""
        self._run(scripts.release(self._sessions[key]))

    def lapse(self, key: Key) -> None:
        """Let a run's lease expire."""
        self.redis.delete(ChannelKeys(key[0]).lock)

    def info(self, key: Key) -> str:
        """The key of a session's hash."""
        return ChannelKeys(key[0]).session(key[1]).info

    def many(self, channels: int, each: int, now_ms: int) -> None:
        """Store ended sessions with a state and a configuration, without the scripts."""
        pipe = self.redis.pipeline(transaction=False)
        for number in range(channels):
            channel = f"c{number}"
            keys = ChannelKeys(channel)
            pipe.zadd(CHANNELS, {channel: now_ms - number})
            for at in range(each):
                sid = str(now_ms - 1000 * (number * each + at) - 1000)
                session = keys.session(Sid(sid))
                pipe.zadd(keys.sessions, {sid: int(sid)})
                pipe.hset(session.info, mapping={
                    "started": sid, "ended": str(int(sid) + 500), "ended_by": "released", "name": f"run {number}/{at}",
                })  # fmt: skip
                pipe.hset(session.state, mapping={
                    "episode_return_mean": f"{sid}-0 {at}.5", "learner\x1floss": f"{sid}-0 0.25",
                })  # fmt: skip
                pipe.hset(session.config, "config", f'{{"lr": {10.0 ** -(number % 4)}, "seed": {at}}}')
        pipe.execute()
