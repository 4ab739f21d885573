"""Names of keys, channels and sessions."""

from __future__ import annotations

import pytest

from hud_publisher.protocol.errors import ConfigError, MalformedError
from hud_publisher.protocol.keys import ChannelKeys, check_channel, check_sid, split_session_id


def test_every_key_of_a_channel_shares_its_hash_tag() -> None:
    keys = ChannelKeys("team-a")
    session = keys.session("7")
    names = [
        keys.lock,
        keys.fence,
        keys.events,
        keys.sessions,
        keys.viewers,
        keys.reporter,
        session.info,
        session.state,
    ]
    names += [session.seq, session.stream("metrics")]
    assert all(name.startswith("hud:{team-a}:") for name in names)
    assert len(set(names)) == len(names)
    assert session.stream("frames") == "hud:{team-a}:s:7:frames"


@pytest.mark.parametrize("channel", ["default", "a", "team-a", "v1.2_x", "9", "x" * 64, "a~2", "x" * 64 + "~9999"])
def test_channels_are_plain_words(channel: str) -> None:
    assert check_channel(channel) == channel


@pytest.mark.parametrize(
    "channel", ["", "-a", ".", "a b", "a/b", "a}b", "a:b", "ü", "a\n", "x" * 65, "a~", "~2", "a~0", "a~2~3", None, 7]
)
def test_other_channels_would_not_survive_a_url_or_a_key(channel: object) -> None:
    with pytest.raises(ConfigError):
        check_channel(channel)  # type: ignore[arg-type]


def test_a_session_id_names_its_channel_and_session() -> None:
    assert split_session_id("team.a.1763800000000." + "s" * 24) == ("team.a", "1763800000000")


@pytest.mark.parametrize(
    "session_id",
    [
        "",
        None,
        7,
        "default",
        "default.1",
        "default.1.short",
        "default.x." + "s" * 24,
        "a}b.1." + "s" * 24,
        "x\n.1." + "s" * 24,
    ],
)
def test_an_invalid_session_id_names_nothing(session_id: object) -> None:
    assert split_session_id(session_id) is None


@pytest.mark.parametrize("sid", ["", "x", "-1", "1.5", "1" * 17, "1\n"])
def test_session_numbers_are_numbers(sid: str) -> None:
    assert check_sid("1763800000000") == "1763800000000"
    with pytest.raises(MalformedError):
        check_sid(sid)
