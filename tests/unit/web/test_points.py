"""The newest points of several runs: each after its position, bounded, and every one once."""

from __future__ import annotations

from typing import Any, cast

import pytest

from hud_publisher.protocol.entries import EntryId
from hud_publisher.protocol.errors import ConfigError, MalformedError
from hud_publisher.protocol.keys import Sid
from hud_publisher.protocol.values import to_json
from hud_web.api import points as module
from hud_web.api.points import MAX_RUNS, Asked, newest_points
from hud_web.store.slices import Turns
from hud_web.store.store import Store
from hud_web.store.views import StreamEntry


def place(entry_id: str) -> tuple[int, int]:
    time_ms, _, number = entry_id.partition("-")
    return int(time_ms), int(number)


class Stored:
    """Streams of several runs."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.streams: dict[tuple[str, str, str], list[StreamEntry]] = {}

    def add(self, channel: str, entry_id: str, data: Any, stream: str = "metrics", step: int = 1) -> None:
        text = data if isinstance(data, bytes) else to_json(data).encode()
        entry = EntryId(entry_id), {b"data": text, b"step": str(step).encode()}
        self.streams.setdefault((channel, "7", stream), []).append(entry)

    async def entries(
        self, channel: str, sid: Sid, stream: str, *, first: str, last: str, limit: int
    ) -> list[StreamEntry]:
        assert (first[0], last) == ("(", "+")
        found = self.streams.get((channel, sid, stream), [])
        return [entry for entry in found if place(entry[0]) > place(first[1:])][:limit]


async def newest(stored: Stored, *asked: str, fields: tuple[str, ...] = ("loss",)) -> dict[str, Any]:
    return await newest_points(cast("Store", stored), [Asked.read(text) for text in asked], frozenset(fields))


async def test_each_run_has_the_points_after_its_position_and_every_one_once() -> None:
    stored = Stored()
    for n in range(1, 4):
        stored.add("a", f"{n}000-0", {"loss": n, "other": 1}, step=n)
        stored.add("b~2", f"{n}000-0", {"nested": {"loss": -n}}, "iterations", step=n)
    first = await newest(stored, "a:7@1000", "b~2:7@0", fields=("loss", "nested/loss"))
    assert first["a:7"]["series"] == {"loss": {"step": [2, 3], "time_ms": [2000, 3000], "value": [2, 3]}}
    assert first["b~2:7"]["series"]["nested/loss"]["value"] == [-1, -2, -3]
    stored.add("a", "3000-1", {"loss": 4})  # in the same millisecond as the last one
    asked = [f"{name}@{run['position']}" for name, run in first.items()]
    again = await newest(stored, *asked, fields=("loss", "nested/loss"))
    assert again["a:7"]["series"]["loss"]["value"] == [4]
    assert again["b~2:7"] == first["b~2:7"] | {"series": {}}


async def test_both_streams_of_a_field_are_one_series_in_order_of_time() -> None:
    stored = Stored()
    for n in range(1, 7):
        stored.add("a", f"{n}-0", {"loss": n}, "metrics" if n % 2 else "iterations")
    assert (await newest(stored, "a:7@0"))["a:7"]["series"]["loss"]["value"] == [1, 2, 3, 4, 5, 6]


async def test_the_machine_is_read_for_those_who_ask_for_it() -> None:
    stored = Stored()
    stored.add("a", "5-0", {"machine": {"node": {"cpu_percent": 40}}}, "machine")
    assert (await newest(stored, "a:7@0"))["a:7"]["position"] == "0-0~0-0~0-0"
    found = (await newest(stored, "a:7@0", fields=("machine/node/cpu_percent",)))["a:7"]
    assert (found["position"], found["series"]["machine/node/cpu_percent"]["value"]) == ("0-0~0-0~5-0", [40])


async def test_an_answer_is_bounded_and_says_that_there_is_more(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = Stored()
    for n in range(1, 101):
        stored.add("a", f"{n}-0", {"loss": n})
    monkeypatch.setattr(module, "MAX_ENTRIES", 20)
    found = (await newest(stored, "a:7@0"))["a:7"]
    assert not found["complete"]
    values = found["series"]["loss"]["value"]
    assert 20 <= len(values) < 100
    rest = []
    while not found["complete"]:
        found = (await newest(stored, f"a:7@{found['position']}"))["a:7"]
        rest += found["series"]["loss"]["value"]
    assert values + rest == list(range(1, 101))
    monkeypatch.setattr(module, "MAX_ANSWER_POINTS", 10)
    assert not (await newest(stored, "a:7@0", "b:7@0"))["a:7"]["complete"]


async def test_a_run_that_is_gone_has_no_points_and_broken_entries_are_passed_over() -> None:
    stored = Stored()
    for n, data in enumerate((b"{", b"[1]", b"\xff", b"[" * 60_000, {"loss": "text"}, {"loss": 3.5}), start=1):
        stored.add("a", f"{n}-0", data)
    found = await newest(stored, "a:7@0", "gone:7@0")
    assert found["a:7"]["series"]["loss"]["value"] == [3.5]
    assert found["gone:7"] == {"position": "0-0~0-0~0-0", "complete": True, "series": {}}


@pytest.mark.parametrize(
    "text", ["", "a:7", "a:7@", "a@5", "a:x@5", "a:7@-5", "a:7@5-0", "a:7@5-0~5-0", "a:7@+", f"a:7@{'9' * 17}", "~:7@5"]
)
def test_another_form_of_a_run_is_refused(text: str) -> None:
    with pytest.raises((MalformedError, ConfigError), match="expected"):
        Asked.read(text)


async def test_more_runs_than_a_page_draws_are_refused() -> None:
    with pytest.raises(MalformedError, match=f"at most {MAX_RUNS} runs"):
        await newest(Stored(), *(f"a:{n}@0" for n in range(MAX_RUNS + 1)))
