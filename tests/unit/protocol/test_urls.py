"""No piece of a URL's secret reaches a message, for any mistake in the URL."""

from __future__ import annotations

import argparse
import itertools
import json
import random
import re
from collections.abc import Iterator
from dataclasses import asdict

import pytest

from hud_publisher import Publisher
from hud_publisher.protocol.errors import ConfigError
from hud_publisher.protocol.settings import Settings
from hud_publisher.protocol.transport.http_client import parse_hud_url
from hud_publisher.protocol.urls import parse_redis_url, split_host
from hud_publisher.sinks.http_sink import HttpSink
from hud_web.command import doctor

SPECIAL = "/?#@%:[] &=;,+!\\\"'<>^`{|}~\t\n\u2100é%2F%zz//??"
#: Pieces of these are in no message by chance.
WORDS = ("QXZV", "57391", "KJWQ", "86420")


def secrets(rng: random.Random, count: int) -> Iterator[str]:
    """Words with one to three special characters between, before and after them."""
    for _ in range(count):
        parts = [rng.choice(("", "1", "88", rng.choice(WORDS)))]
        for _ in range(rng.randint(1, 3)):
            parts += ["".join(rng.sample(SPECIAL, rng.randint(1, 2))), rng.choice(WORDS)]
        yield "".join(parts)


def urls(secret: str, *, hud: bool) -> list[str]:
    users = ("", "me", "57")
    if hud:
        schemes, ends = (
            ("http", "https", "HTTP", "htp"),
            ("h:8086", "h", "h:8086/QXZV57391", "h:x", "[::1]:8086", "", "h:99999"),
        )
    else:
        schemes = ("redis", "rediss", "unix", "redis+sentinel", "redis+cluster", "rediss+cluster", "redis+sentine")
        ends = (
            "h:6379/0",
            "h",
            "h/x",
            "a:1,b:2",
            "a,b/main/1",
            "/run/s.sock?db=1",
            "h:port/0",
            "[::1",
            "",
            "h?timeout=3",
        )
    made = [f"{scheme}://{user}:{secret}@{end}" for scheme, user, end in itertools.product(schemes, users, ends)]
    made += [f"{scheme}://{secret}@{end}" for scheme, end in itertools.product(schemes, ends)]
    made += [f"{scheme}://:{secret}%40{end}" for scheme, end in itertools.product(schemes, ends)]
    return [*made, f":{secret}@h:6379/0", f"redis:/:{secret}@h", f"me:{secret}@h"]


def pieces(secret: str) -> set[str]:
    return {piece for piece in re.findall(r"[A-Z]{3,}|\d{3,}", secret) if piece in WORDS}


def what_is_said_of_a_redis_url(url: str) -> Iterator[str]:
    for read in (parse_redis_url, lambda text: Settings.from_env({"HUD_REDIS_URL": text})):
        try:
            result: object = read(url)
            yield f"{result}{result!r}"
        except ConfigError as error:
            yield f"{error}{error!r}{error.__cause__}"


def what_is_said_of_a_hud_url(url: str) -> Iterator[str]:
    for read in (
        parse_hud_url,
        lambda text: Settings.from_env({"HUD_URL": text}),
        lambda text: HttpSink(text, channel="c", run_id="r", name="n", info={}),
    ):
        try:
            result: object = read(url)
            # A path may be a secret too: only its presence is shown.
            yield f"{result}{result!r}" if not isinstance(result, tuple) else ""
        except ConfigError as error:
            yield f"{error}{error!r}{error.__cause__}"


@pytest.mark.parametrize("seed", range(8))
def test_no_message_about_a_redis_url_holds_a_piece_of_its_password(seed: int) -> None:
    for secret in secrets(random.Random(seed), 40):
        for url in urls(secret, hud=False):
            for text in what_is_said_of_a_redis_url(url):
                assert not [piece for piece in pieces(secret) if piece in text], (url, text)


@pytest.mark.parametrize("seed", range(8))
def test_no_message_about_a_hud_url_holds_a_piece_of_its_password(seed: int) -> None:
    for secret in secrets(random.Random(seed), 40):
        for url in urls(secret, hud=True):
            for text in what_is_said_of_a_hud_url(url):
                assert not [piece for piece in pieces(secret) if piece in text], (url, text)


def test_the_publisher_and_the_doctor_refuse_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REDIS_URL", "HUD_URL"):
        monkeypatch.delenv(name, raising=False)
    url = "redis://:57/QXZVWORD@127.0.0.1:6379/0"
    with pytest.raises(ConfigError, match="REDIS_URL") as refused:
        Publisher(redis_url=url)
    assert "QXZV" not in str(refused.value)
    assert "%2F" in str(refused.value)
    options = argparse.Namespace(url=None, redis_url=url, channel=None, json=True, listen=0.1)
    (finding,) = doctor.examine(options)
    assert finding.level == "problem"
    assert "QXZV" not in json.dumps(asdict(finding))


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:57391?rest@host:6379/0",
        "redis://user:57391#rest@host:6379/0",
        "redis://user:57391#rest",
        "redis+cluster://:57391,KJWQ/rest@a:7000,b:7001",
        "unix://:57391/rest@/run/redis.sock",
        "unix://run/redis.sock",
        "unix:///KJWQ@/run/redis.sock",
    ],
)
def test_a_password_that_looks_like_a_host_or_a_port_is_never_connected_to(url: str) -> None:
    with pytest.raises(ConfigError):
        parse_redis_url(url)


def test_a_servers_error_text_loses_the_credentials_that_it_repeats() -> None:
    target = parse_redis_url("redis://me:QXZVWORD@host")
    text = "ERR unknown command 'AUTH', with args beginning with: 'me' 'QXZVWO"
    assert "QXZV" not in target.hide_secrets(text)
    assert target.hide_secrets("ERR bad QXZVWORD here") == "ERR bad … here"


@pytest.mark.parametrize(
    ("text", "host"),
    [("h", ("h", None)), ("h:1", ("h", 1)), ("[::1]:2", ("::1", 2)), ("[fe80::1%eth0]", ("fe80::1%eth0", None))],
)
def test_hosts_have_names_or_addresses_and_at_most_a_port(text: str, host: tuple[str, int | None]) -> None:
    assert split_host(text) == host


@pytest.mark.parametrize("text", ["", ":1", "h:", "h:65536", "h:1:2", "h%40g", "a b", "::1", "[::1", "h/"])
def test_other_texts_are_no_hosts(text: str) -> None:
    with pytest.raises(ConfigError):
        split_host(text)
