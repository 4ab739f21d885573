"""The memory of charts: bounded for one session, for all, and in number."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from hud_publisher.protocol.cleaning import clean_metrics
from hud_publisher.protocol.entries import EntryId
from hud_publisher.protocol.keys import Sid
from hud_publisher.protocol.values import to_json
from hud_web.api import history as module
from hud_web.api.histograms import MOST_COLUMNS
from hud_web.api.history import MAX_HISTORIES, MAX_TURNS, Histories, History
from hud_web.monitor.annotations import Annotation
from hud_web.store.slices import Turns
from hud_web.store.store import Store
from hud_web.store.views import SessionView, StreamEntry


class Stored:
    """A stored session of `count` entries with `fields` fields each."""

    readable = Store.readable

    def __init__(self, count: int, fields: int) -> None:
        self.turns = Turns()
        self._entries: list[StreamEntry] = []
        self.annotations: list[StreamEntry] = []
        self.machine: list[StreamEntry] = []
        for number in range(count):
            data = {f"f{field}": number % (field + 7) for field in range(fields)}
            self._entries.append((EntryId(f"{number + 1}-0"), {b"data": to_json(data).encode(), b"time": b"1"}))

    async def lengths(self, _channel: str, _sid: Sid, _stream: str) -> tuple[int, int]:
        return len(self._entries), 0

    async def entries(
        self, _channel: str, _sid: Sid, stream: str, *, first: str = "-", last: str = "+", limit: int | None = None
    ) -> list[StreamEntry]:
        streams = {"metrics": self._entries, "annotations": self.annotations, "machine": self.machine}
        found = streams.get(stream, [])
        start = int(first[1:].partition("-")[0]) if first.startswith("(") else 0
        return found[start : start + (limit or len(found))]

    async def session(self, channel: str, sid: Sid) -> SessionView:
        return SessionView(channel, sid)


async def test_a_session_of_many_metrics_stays_within_its_points_and_shows_all_of_its_course(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_SESSION_POINTS", 2_000)
    history = History("default", Sid("7"))
    found: dict[str, Any] = await history.series(cast("Store", Stored(1_000, 20)), None, 2_000, 1_000_000)
    assert history.size <= 2_000
    assert len(found["series"]) == 20
    for column in found["series"].values():
        assert len(column["value"]) >= 20


async def test_the_use_of_the_machine_is_read_for_those_who_ask_for_it() -> None:
    stored = Stored(1, 1)
    data = to_json({"machine": {"env runner 2": {"memory_bytes": 3e9}}}).encode()
    stored.machine.append((EntryId("1-0"), {b"data": data, b"time": b"1"}))
    path = "machine/env runner 2/memory_bytes"
    without = await History("default", Sid("7")).series(cast("Store", stored), ["f0"], 2_000, 1_000)
    assert without["fields"] == ["f0"]
    found = await History("default", Sid("8")).series(cast("Store", stored), [path], 2_000, 1_000)
    assert found["series"][path]["value"] == [3e9]


async def test_a_field_that_turns_nan_and_back_for_ever_has_its_newest_turns_within_the_size_of_an_answer() -> None:
    stored = Stored(1, 1)
    for number in range(3 * MAX_TURNS):
        turn = (
            Annotation("finite_again", number, "") if number % 2 else Annotation("non_finite", number, "", value="NaN")
        )
        parts = [part.encode() for part in replace(turn, fields=("f0", "f1")).encode()]
        stored.annotations.append((EntryId(f"{number + 1}-0"), dict(zip(parts[::2], parts[1::2], strict=True))))
    history = History("default", Sid("7"))
    found = await history.series(cast("Store", stored), None, 2_000, 1_000_000)
    assert found["fields"] == ["f0", "f1"]
    assert found["not_finite"]["f0"]["time_ms"] == list(range(2 * MAX_TURNS, 3 * MAX_TURNS))
    assert found["not_finite"]["f1"]["value"][-2:] == ["NaN", None]
    small = await History("default", Sid("8")).series(cast("Store", stored), None, 2_000, 100)
    assert len(small["not_finite"]["f0"]["value"]) <= 100


async def test_the_sessions_that_are_remembered_are_bounded_in_number() -> None:
    histories = Histories()
    first = histories.of("default", Sid("0"))
    for number in range(1, MAX_HISTORIES):
        histories.of("default", Sid(str(number)))
    assert histories.of("default", Sid("0")) is first
    for number in range(MAX_HISTORIES, 2 * MAX_HISTORIES):
        histories.of("default", Sid(str(number)))
    assert len(histories._kept) == MAX_HISTORIES
    assert histories.of("default", Sid("0")) is not first


async def test_the_index_of_frames_counts_as_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_KEPT_POINTS", 100)
    histories = Histories()
    first = histories.of("default", Sid("1"))
    first.frames.size = 32 * 200
    second = histories.of("default", Sid("2"))
    assert list(histories._kept.values()) == [second]


class WithHistograms(Stored):
    """A stored session whose every entry has a number and a histogram of the numbers from 0 to its own."""

    def __init__(self, count: int) -> None:
        super().__init__(0, 0)
        for number in range(1, count + 1):
            data = clean_metrics({"net": {"weights": [*range(number + 40)]}, "loss": number}, histograms=True)
            text = to_json(data).encode()
            self._entries.append((EntryId(f"{number}-0"), {b"data": text, b"time": b"1", b"step": b"%d" % number}))


async def test_the_histograms_of_a_field_come_in_columns_over_the_whole_run() -> None:
    stored = WithHistograms(1_000)
    history = History("default", Sid("7"))
    found = await history.series(cast("Store", stored), ["net/weights"], 2_000, 3_000)
    assert found["fields"] == ["loss", "net/weights"]
    assert found["series"] == {}
    columns = found["histograms"]["net/weights"]
    assert 100 <= len(columns["step"]) <= MOST_COLUMNS
    assert columns["step"][0] <= 8
    assert columns["step"][-1] == 1_000, "the newest one is always there"
    assert columns["step"] == sorted(columns["step"])
    for step, n, high, counts in zip(*(columns[name] for name in ("step", "n", "high", "counts")), strict=True):
        assert n == sum(counts) == step + 40
        assert high == pytest.approx(step + 39, abs=0.5)
    assert history.size < 20_000
    history = History("default", Sid("7"))
    several = await history.series(cast("Store", stored), ["net/weights", "loss"], 2_000, 100)
    assert len(several["histograms"]["net/weights"]["step"]) <= 13, "an answer with little space has few columns"


async def test_what_has_not_the_form_of_a_histogram_is_left_out() -> None:
    stored = Stored(0, 0)
    wrong = [
        {},
        {"n": 1},
        {"n": 1, "low": 0, "high": "x", "counts": [1]},
        {"n": 1, "low": 0, "high": 1, "counts": [-1]},
    ]
    for number, about in enumerate([*wrong, {"n": 1, "low": 0, "high": 1, "counts": [1]}], start=1):
        text = to_json({"h": ["histogram", about], "x": 1.0}).encode()
        stored._entries.append((EntryId(f"{number}-0"), {b"data": text, b"time": b"1"}))
    found = await History("default", Sid("7")).series(cast("Store", stored), None, 2_000, 3_000)
    assert found["histograms"]["h"]["counts"] == [[1]]
    assert len(found["series"]["x"]["value"]) == 5
