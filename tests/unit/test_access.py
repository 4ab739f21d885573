"""Tokens, rates and settings of the web tier, without a server."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.responses import PlainTextResponse

from hud_publisher.protocol.errors import ConfigError
from hud_web.access import limits
from hud_web.access.limits import MAX_ADDRESSES, Buckets, Rate
from hud_web.settings import WebSettings
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


@pytest.mark.parametrize("path", ["/api/state", "/api/export", "/api/frames/1-0"])
async def test_an_address_that_reads_too_often_is_refused_and_its_probes_and_writes_go_on(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(limits, "READS", Rate(per_s=0.001, burst=3))
    app = limits.AddressLimits(PlainTextResponse("reached"), streams_per_address=0)
    assert [(await call(app, "GET", path))[0] for _ in range(4)] == [200, 200, 200, 429]
    for free in ("/", "/health", "/ready", "/metrics", "/static/js/shell/main.js"):
        assert (await call(app, "GET", free))[0] == 200
    assert (await call(app, "POST", "/api/publish"))[0] == 200


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
        WebSettings.from_env(environment)
    for name in environment:
        assert name in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_settings_show_no_secret_in_their_repr() -> None:
    secrets = {
        "REDIS_URL": "redis://:hunter2@host", "HUD_TOKEN": "hunter3", "HUD_VIEW_TOKEN": "hunter4",
        "HUD_RUN_ID": "hunter5", "HUD_URL": "http://u:hunter6@host",
    }  # fmt: skip
    assert "hunter" not in repr(WebSettings.from_env(secrets))


@pytest.mark.parametrize(
    ("text", "sources"),
    [
        ("http://localhost:8888", ("http://localhost:8888",)),
        ("  https://*.example.org\thttp://localhost:* ", ("https://*.example.org", "http://localhost:*")),
        ("self https:", ("'self'", "https:")),
        ("'self'", ("'self'",)),
        ("none", ("'none'",)),
        ("*", ("*",)),
        ("vscode-webview:", ("vscode-webview:",)),
        ("hub.example.org http://[::1]:8888 https://wiki.example/", ("hub.example.org", "http://[::1]:8888", "https://wiki.example/")),
    ],
)  # fmt: skip
def test_sources_that_may_embed_the_page(text: str, sources: tuple[str, ...]) -> None:
    assert WebSettings.from_env({"HUD_FRAME_ANCESTORS": text}).frame_ancestors == sources


@pytest.mark.parametrize(
    "text",
    [
        "http://a; script-src *", "http://a,http://b", "none http://a", "http://a/path/x", "http://a\r\nX-Evil:1;",
        "http://ünicode.example", "'unsafe-inline'", "http://a:port", "//a", "http://", "a..b", "*.", "http://u:p@a",
    ],
)  # fmt: skip
def test_a_source_that_is_none_is_a_mistake_and_opens_nothing(text: str) -> None:
    with pytest.raises(ConfigError, match="HUD_FRAME_ANCESTORS: expected"):
        WebSettings.from_env({"HUD_FRAME_ANCESTORS": text})


@pytest.mark.parametrize("name", ["HUD_TOKEN", "HUD_VIEW_TOKEN"])
@pytest.mark.parametrize("value", [",", " ", "\n", "schlüssel", "a,b\x00"])
def test_a_token_that_is_none_is_a_mistake_and_opens_nothing(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        WebSettings.from_env({name: value})


def test_hosts_are_kept_as_they_are_compared() -> None:
    given = "HUD.example:8086, *.example.org, [::1]:80, 2001:db8::1, wiki.example."
    expected = ("hud.example", "*.example.org", "::1", "2001:db8::1", "wiki.example")
    assert WebSettings.from_env({"HUD_ALLOWED_HOSTS": given}).allowed_hosts == expected


@pytest.mark.parametrize("value", ["*evil", "http://hud.example", "a b", ",", "x.*"])
def test_hosts_that_are_no_names_are_a_mistake(value: str) -> None:
    with pytest.raises(ConfigError, match="HUD_ALLOWED_HOSTS"):
        WebSettings.from_env({"HUD_ALLOWED_HOSTS": value})


async def test_an_address_that_opens_streams_too_often_is_refused_unless_it_may_hold_any_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "OPENINGS", Rate(per_s=0.001, burst=3))
    for most, last in ((1_000, 429), (0, 200)):
        app = limits.AddressLimits(PlainTextResponse("reached"), streams_per_address=most)
        assert [(await call(app, "GET", "/stream"))[0] for _ in range(4)] == [200, 200, 200, last]


def test_rates_are_those_of_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text().replace("\n", " ")
    rates = (limits.REGISTRATIONS, limits.WRITES, limits.READS, limits.OPENINGS)
    register, write, read, opened = (f"{rate.per_s:,.0f}" for rate in rates)
    assert (
        f"may register {register} times, write {write} times, read under `/api/` {read} times and open {opened} streams"
    ) in page
    first, second, third, fourth = (f"{rate.burst:,}" for rate in rates)
    assert f"bursts of {first}, {second}, {third} and {fourth}" in page


def test_lists_are_split_at_commas() -> None:
    settings = WebSettings.from_env(
        {"HUD_TOKEN": "a, b,", "HUD_VIEW_TOKEN": "c", "HUD_ALLOWED_HOSTS": "x.example,y.example"}
    )
    assert settings.tokens == ("a", "b")
    assert settings.view_tokens == ("c",)
    assert settings.allowed_hosts == ("x.example", "y.example")
