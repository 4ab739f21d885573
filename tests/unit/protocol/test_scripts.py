"""The calls of the Lua scripts and their replies. The contract suites check the order of KEYS and ARGV."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from hud_publisher.protocol import replies, scripts
from hud_publisher.protocol.batch import Batch, Claim, Reporter
from hud_publisher.protocol.entries import Limits, MetricsEntry
from hud_publisher.protocol.errors import ConfigError, Holder, SessionHeldError, SessionNotActiveError, StorageFullError
from hud_publisher.protocol.keys import SessionId

SESSION = SessionId("default.7." + "s" * 24)


def test_the_lua_is_part_of_the_package_and_known_by_its_digest() -> None:
    for name in ("register", "publish", "release"):
        script = scripts.load_script(name)
        assert len(script.sha) == 40
        assert "KEYS" in script.source
        assert scripts.load_script(name) is script


def test_the_same_batch_is_the_same_call() -> None:
    batch = Batch("w", 3, (MetricsEntry({"a": 1}, 1),), Claim((1, 0)))
    assert scripts.publish(SESSION, batch, Limits()) == scripts.publish(SESSION, batch, Limits())


def test_a_run_id_is_never_sent_itself() -> None:
    call = scripts.register("default", run_id="secret-run", name="n", limits=Limits())
    assert "secret-run" not in "".join(map(str, call.keys + call.args))
    assert scripts.run_digest("secret-run") in call.args
    assert scripts.run_digest(None) == ""


def test_two_registrations_offer_two_secrets() -> None:
    calls = [scripts.register("default", run_id="r", name="n", limits=Limits()) for _ in range(2)]
    assert calls[0].args[1] != calls[1].args[1]


def test_no_name_of_a_user_can_be_taken_for_one_of_the_session_hash() -> None:
    info = {"run": "x", "started": "1", "ended": "1", "ended_by": "x", "shown": "x", "info": "x", "env": "Breakout"}
    call = scripts.register("default", run_id="r", name="n", limits=Limits(), info=info)
    assert call.args[9] == "n"
    assert json.loads(str(call.args[10])) == info
    assert call.args[11] == "{}"


def test_any_info_can_be_sent_as_utf_8() -> None:
    info: dict[str, Any] = {"a\ud800": "b\ud800", "nested": {"c": "\ud800"}, "long": "x" * 20_000}
    args = scripts.register("default", run_id="r\ud800", name="n\ud800", limits=Limits(), info=info).args
    texts = [arg for arg in args if isinstance(arg, str)]
    assert "n?" in texts
    sent = json.loads(str(args[10]))
    assert sent["a?"] == "b?"
    assert len(sent["long"]) == 16_384


def test_a_wrong_channel_is_a_mistake() -> None:
    with pytest.raises(ConfigError):
        scripts.register("a}b", run_id="r", name="n", limits=Limits())


def test_an_invalid_session_id_reaches_no_redis() -> None:
    with pytest.raises(SessionNotActiveError):
        scripts.publish(SessionId("x"), Batch("w"), Limits())
    with pytest.raises(SessionNotActiveError):
        scripts.release(SessionId("x"))


def test_replies_read_alike_as_bytes_and_as_text() -> None:
    as_bytes = [b"ok", 3, b'{"worker_index": 2, "env_index": 1}', b"5-0", b"1/0", 250]
    as_text = ["ok", "3", '{"worker_index": 2, "env_index": 1}', "5-0", "1/0", "250"]
    assert replies.parse_publish(as_bytes) == replies.parse_publish(as_text)
    told = replies.parse_publish(as_bytes)
    assert (told.viewers, told.reporter, told.last_id) == (3, Reporter(2, 1), "5-0")
    assert (told.shown, told.shown_age_ms) == ((1, 0), 250)


def test_without_a_shown_env_there_is_no_age() -> None:
    told = replies.parse_publish([b"ok", 0, b"", b"", b"", 1_700_000_000_000])
    assert (told.reporter, told.last_id, told.shown, told.shown_age_ms) == (None, None, None, None)


def test_lost_and_full_are_separate_errors() -> None:
    with pytest.raises(SessionNotActiveError):
        replies.parse_publish([b"lost", 0, b"", b"", b"", 0])
    with pytest.raises(StorageFullError):
        replies.parse_publish([b"full", 0, b"", b"", b"", 0])


def test_a_held_channel_names_its_holder() -> None:
    with pytest.raises(SessionHeldError) as refusal:
        replies.parse_register([b"held", b"", b"7", b"ppo", b"1763800000000", 12_000, b"400"])
    assert refusal.value.holder == Holder("7", "ppo", 1763800000000, 12_000, 400)
    assert "12 s" in str(refusal.value)


@pytest.mark.parametrize("stored", [None, "", "nonsense", "[]", "{}", '{"worker_index": "x", "env_index": 0}'])
def test_an_invalid_reporter_is_ignored(stored: str | None) -> None:
    assert replies.parse_reporter(stored) is None


def test_a_reporter_reads_back() -> None:
    assert replies.parse_reporter(replies.encode_reporter(Reporter(2, 1))) == Reporter(2, 1)


def test_two_run_ids_that_are_not_unicode_are_two_runs() -> None:
    digests = {scripts.run_digest(os.fsdecode(name)) for name in (b"caf\xe9", b"caf\xea", b"caf?")}
    assert len(digests) == 3
