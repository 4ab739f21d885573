"""Another run that takes the channel over, writes for a while, and leaves."""

from __future__ import annotations

import contextlib
import secrets
import threading

from hud_publisher.protocol import replies, scripts
from hud_publisher.protocol.batch import Batch, Registered
from hud_publisher.protocol.entries import Limits, MetricsEntry
from hud_publisher.protocol.errors import SessionNotActiveError
from hud_publisher.sinks.redis_client import connect, execute
from tests.faults.history import Number

BATCH_ENTRIES = 5
PAUSE_S = 0.02


class Intruder:
    """Holds the channel from its construction until it leaves, or loses it.

    Attributes:
        run_name: of its run.
        writer: the field under which it logs.
        acknowledged: (SID, number) of each acknowledged entry.
    """

    def __init__(self, redis_url: str, writer: str, *, ttl_ms: int) -> None:
        """Take the channel from any holder; raises redis-py's errors if Redis is unreachable."""
        self.run_name, self.writer = f"another-run-{writer}", writer
        self.acknowledged: list[tuple[str, Number]] = []
        self._limits = Limits(ttl_ms=ttl_ms)
        self._client = connect(redis_url, timeout_s=1.0)
        call = scripts.register(
            "default", run_id=secrets.token_hex(8), name=self.run_name, limits=self._limits, takeover=True
        )
        self._stop = threading.Event()
        try:
            self._session = replies.parse_register(execute(self._client, call))
        except BaseException:
            self._client.close()
            raise
        self._thread = threading.Thread(target=self._write, args=(self._session,))
        self._thread.start()

    def leave(self, *, releases: bool) -> None:
        self._stop.set()
        self._thread.join(30)
        if releases:
            with contextlib.suppress(Exception):  # Redis is unreachable: the lease expires instead
                execute(self._client, scripts.release(self._session.session_id))
        self._client.close()

    def _write(self, session: Registered) -> None:
        number, first = 1, 1
        while not self._stop.wait(PAUSE_S):
            numbers = range(first, first + BATCH_ENTRIES)
            entries = tuple(MetricsEntry({self.writer: n}, 1, n) for n in numbers)
            call = scripts.publish(session.session_id, Batch(self.writer, number, entries), self._limits)
            try:
                replies.parse_publish(execute(self._client, call))
            except SessionNotActiveError:
                return
            except Exception:  # Redis is unreachable or full: send the same batch again
                continue
            self.acknowledged += [(session.sid, Number(self.writer, "metrics", n)) for n in numbers]
            number, first = number + 1, first + BATCH_ENTRIES
