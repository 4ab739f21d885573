"""The order in which the monitor reads the entries of several streams."""

from __future__ import annotations

from hud_web.monitor.ledger import _in_order, _parse_state


def test_entries_of_one_batch_are_in_the_order_of_their_writer_across_streams() -> None:
    found = [
        (b"hud:{c}:s:1:metrics", [(b"5-0", {b"time": b"40"}), (b"7-0", {b"time": b"60"}), (b"7-1", {b"time": b"62"})]),
        (b"hud:{c}:s:1:iterations", [(b"7-0", {b"time": b"61"})]),
    ]
    order = [(name, entry_id) for name, entry_id, _fields in _in_order(found, 500).found]
    assert order == [("metrics", "5-0"), ("metrics", "7-0"), ("iterations", "7-0"), ("metrics", "7-1")]


def test_the_order_within_a_stream_is_that_of_its_ids() -> None:
    found = [
        (b"hud:{c}:s:1:metrics", [(b"7-0", {b"time": b"62"}), (b"7-1", {b"time": b"60"}), (b"8-0", {b"time": b"1"})])
    ]
    assert [entry_id for _name, entry_id, _fields in _in_order(found, 500).found] == ["7-0", "7-1", "8-0"]


def test_a_writer_that_sent_only_samples_and_reports_has_sent_no_sign_of_training() -> None:
    only = _parse_state([b"3 0"], b"1000", None, None, None)
    assert only is not None
    assert only.last_batch_ms is None
    both = _parse_state([b"3 0", b"4 2000"], b"1000", None, None, None)
    assert both is not None
    assert both.last_batch_ms == 2000
