"""Tokens, rates and settings of the web tier, without a server."""

from __future__ import annotations

import pytest
from starlette.responses import PlainTextResponse

from hud_publisher.protocol.errors import ConfigError
from hud_publisher.protocol.settings import Settings
from hud_web import limits
from hud_web.limits import MAX_ADDRESSES, Buckets, Rate
from tests.unit.web.asgi import call


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_address_may_burst_then_gets_its_rate_and_others_are_not_touched() -> None:
    clock = Clock()
    buckets = Buckets(Rate(per_s=2.0, burst=3), clock)
    assert [buckets.take("a") for _ in range(3)] == [0, 0, 0]
    assert buckets.take("a") == pytest.approx(0.5)
    assert buckets.take("b") == 0
    clock.now += 0.5
    assert buckets.take("a") == 0
    assert buckets.take("a") > 0
    clock.now += 100
    assert [buckets.take("a") for _ in range(4)][:3] == [0, 0, 0]
    assert buckets.take("a") > 0


@pytest.mark.parametrize("path", ["/api/update_training", "/api/publish", "/api/reset_session", "/anything"])
async def test_an_address_that_writes_too_often_is_refused_and_may_still_look(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(limits, "WRITES", Rate(per_s=0.001, burst=3))
    app = limits.AddressLimits(PlainTextResponse("reached"), streams_per_address=0)
    assert [(await call(app, "POST", path))[0] for _ in range(4)] == [200, 200, 200, 429]
    assert (await call(app, "GET", path))[0] == 200


def test_remembered_addresses_are_bounded() -> None:
    buckets = Buckets(Rate(per_s=1.0, burst=1), Clock())
    for number in range(MAX_ADDRESSES + 10):
        buckets.take(str(number))
    assert buckets.take(str(MAX_ADDRESSES)) > 0  # still known
    assert buckets.take("0") == 0  # forgotten, so full again


def test_settings_name_every_mistake_and_no_secret() -> None:
    environment = {
        "REDIS_URL": "ftp://user:hunter2@host",
        "HUD_CORS_ORIGINS": "https://fine.example, *",
        "HUD_INSECURE": "perhaps",
        "HUD_STREAMS_PER_ADDRESS": "-1",
    }
    with pytest.raises(ConfigError) as caught:
        Settings.from_env(environment)
    for name in environment:
        assert name in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_settings_show_no_secret_in_their_repr() -> None:
    secrets = {
        "REDIS_URL": "redis://:hunter2@host", "HUD_TOKEN": "hunter3", "HUD_VIEW_TOKEN": "hunter4",
        "HUD_RUN_ID": "hunter5", "HUD_URL": "http://u:hunter6@host",
    }  # fmt: skip
    assert "hunter" not in repr(Settings.from_env(secrets))


@pytest.mark.parametrize("name", ["HUD_TOKEN", "HUD_VIEW_TOKEN"])
@pytest.mark.parametrize("value", [",", " ", "\n", "schlüssel", "a,b\x00"])
def test_a_token_that_is_none_is_a_mistake_and_opens_nothing(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        Settings.from_env({name: value})


def test_hosts_are_kept_as_they_are_compared() -> None:
    given = "HUD.example:8086, *.example.org, [::1]:80, 2001:db8::1, wiki.example."
    expected = ("hud.example", "*.example.org", "::1", "2001:db8::1", "wiki.example")
    assert Settings.from_env({"HUD_ALLOWED_HOSTS": given}).allowed_hosts == expected


@pytest.mark.parametrize("value", ["*evil", "http://hud.example", "a b", ",", "x.*"])
def test_hosts_that_are_no_names_are_a_mistake(value: str) -> None:
    with pytest.raises(ConfigError, match="HUD_ALLOWED_HOSTS"):
        Settings.from_env({"HUD_ALLOWED_HOSTS": value})


def test_lists_are_split_at_commas() -> None:
    settings = Settings.from_env(
        {"HUD_TOKEN": "a, b,", "HUD_VIEW_TOKEN": "c", "HUD_ALLOWED_HOSTS": "x.example,y.example"}
    )
    assert settings.tokens == ("a", "b")
    assert settings.view_tokens == ("c",)
    assert settings.allowed_hosts == ("x.example", "y.example")
