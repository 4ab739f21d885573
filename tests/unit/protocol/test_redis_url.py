"""REDIS_URL in all its forms."""

from __future__ import annotations

import pytest

from hud_publisher.protocol.errors import ConfigError
from hud_publisher.protocol.urls import RedisTarget, parse_redis_url


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("redis://host", RedisTarget("single", (("host", 6379),))),
        ("redis://host:6380/2", RedisTarget("single", (("host", 6380),), db=2)),
        ("redis://host/?db=3", RedisTarget("single", (("host", 6379),), db=3)),
        ("redis://:p%40ss@host", RedisTarget("single", (("host", 6379),), password="p@ss")),
        ("redis://me:p:w@host", RedisTarget("single", (("host", 6379),), username="me", password="p:w")),
        ("redis://[::1]:7000/1", RedisTarget("single", (("::1", 7000),), db=1)),
        ("unix:///run/redis.sock", RedisTarget("unix", path="/run/redis.sock")),
        (
            "unix://me:pw@/run/redis.sock?db=4",
            RedisTarget("unix", path="/run/redis.sock", db=4, username="me", password="pw"),
        ),
        (
            "redis+sentinel://me:pw@a,b:7000/main/2?sentinel_password=sp",
            RedisTarget(
                "sentinel", (("a", 26379), ("b", 7000)), db=2, username="me", password="pw", service="main",
                sentinel_password="sp",
            ),
        ),
        ("redis+cluster://a:7000,b", RedisTarget("cluster", (("a", 7000), ("b", 6379)))),
        ("rediss://host", RedisTarget("single", (("host", 6379),), tls={})),
        (
            "rediss+cluster://a?ssl_ca_certs=/ca.pem&ssl_check_hostname=false",
            RedisTarget("cluster", (("a", 6379),), tls={"ssl_ca_certs": "/ca.pem", "ssl_check_hostname": False}),
        ),
        (
            "rediss://a?ssl_cert_reqs=none",
            RedisTarget("single", (("a", 6379),), tls={"ssl_cert_reqs": "none", "ssl_check_hostname": False}),
        ),
    ],
)  # fmt: skip
def test_a_url_gives_the_server_and_the_user(url: str, target: RedisTarget) -> None:
    assert parse_redis_url(url) == target


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host:6379",
        "http://host",
        "redis://",
        "redis://host:port",
        "redis://host:99999",
        "redis://host/one",
        "redis://host/-1",
        "redis://host/0/1",
        "redis://a,b",
        "redis://host?timeout=5",
        "unix://",
        "redis+sentinel://a:26379",
        "redis+cluster://a/3",
        "redis+cluster://a,,b",
        "rediss://a?ssl_cert_reqs=maybe",
    ],
)
def test_another_form_is_a_mistake_that_names_the_variable_and_not_the_url(url: str) -> None:
    with pytest.raises(ConfigError, match="REDIS_URL") as mistake:
        parse_redis_url(url.replace("://", "://user:secret@", 1))
    assert "secret" not in str(mistake.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://me:secret@host/2", "redis://host:6379/2"),
        ("rediss://:secret@[::1]/0", "rediss://[::1]:6379/0"),
        ("unix://:secret@/run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
        ("redis+sentinel://:secret@a,b/main?sentinel_password=secret", "redis+sentinel://a:26379,b:26379/main/0"),
        ("rediss+cluster://:secret@a", "rediss+cluster://a:6379"),
    ],
)
def test_the_logged_text_holds_no_secret(url: str, said: str) -> None:
    target = parse_redis_url(url)
    assert str(target) == said
    assert "secret" not in repr(target)


def test_client_options_are_those_of_redis_py() -> None:
    target = parse_redis_url("rediss://me:pw@host/2?ssl_ca_certs=/ca.pem")
    assert target.client_options() == {
        "username": "me", "password": "pw", "db": 2, "ssl": True, "ssl_ca_certs": "/ca.pem"
    }  # fmt: skip
    cluster = parse_redis_url("redis+cluster://host")
    assert cluster.client_options() == {"username": None, "password": None}
