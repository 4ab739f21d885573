"""The settings: read once, every mistake named, no secret printed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hud_publisher.protocol import settings as settings_module
from hud_publisher.protocol.entries import Bound, bounds
from hud_publisher.protocol.errors import ConfigError
from hud_publisher.protocol.settings import Retention, Settings


def test_without_an_environment_the_defaults_apply() -> None:
    settings = Settings.from_env({})
    assert settings == Settings()
    assert (settings.redis_url, settings.channel, settings.session_ttl_s, settings.fps) == (None, "default", 30.0, 20.0)


def test_variables_are_read_and_arguments_go_before_them() -> None:
    environ = {"REDIS_URL": " redis://host ", "HUD_CHANNEL": "a", "HUD_FPS": "12.5", "HUD_ENV_ID": "3"}
    settings = Settings.from_env(environ, channel="b", fps=None)
    assert (settings.redis_url, settings.channel, settings.fps, settings.env_id) == ("redis://host", "b", 12.5, 3)


def test_the_variable_of_hud_takes_precedence_over_one_of_another_program() -> None:
    shared = {"REDIS_URL": "redis://celery:6379/0?timeout=5", "HUD_URL": "http://hud:8086"}
    settings = Settings.from_env(shared | {"HUD_REDIS_URL": "redis://hud-redis"})
    assert (settings.redis_url, settings.redis_url_variable) == ("redis://hud-redis", "HUD_REDIS_URL")
    assert Settings.from_env(shared, redis_url="redis://named").redis_url == "redis://named"
    assert Settings.from_env({"REDIS_URL": "redis://a"}).redis_url_variable == "REDIS_URL"
    with pytest.raises(ConfigError, match=r"^HUD_REDIS_URL: expected a URL"):
        Settings.from_env({"HUD_REDIS_URL": "hud-redis:6379"})


def test_an_empty_variable_is_none() -> None:
    assert Settings.from_env({"REDIS_URL": "", "HUD_FPS": ""}) == Settings()


def test_settings_of_the_removed_helper_process_are_accepted_with_one_line_each(
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings_module._say_retired.cache_clear()
    for _ in range(2):
        assert Settings.from_env({"HUD_HELPER": "nonsense"}, has_helper=True, helper=None) == Settings()
    assert [record.getMessage().split()[1] for record in caplog.records] == ["HUD_HELPER", "has_helper"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("30", 30.0), ("45s", 45.0), ("10m", 600.0), ("12H", 43_200.0), ("1.5d", 129_600.0)]
)
def test_durations_carry_their_unit(text: str, seconds: float) -> None:
    assert Settings.from_env({"HUD_RETENTION": text} if seconds >= 60 else {"HUD_SESSION_TTL": text}) == (
        Settings(retention=Retention(seconds)) if seconds >= 60 else Settings(session_ttl_s=seconds)
    )


@pytest.mark.parametrize(
    ("text", "retention"),
    [
        ("7d,100sessions,256mb", Retention()),
        ("2gb", Retention(stored_bytes=2 * 1024**3)),
        ("1 session , 3h", Retention(age_s=10_800.0, sessions=1)),
        ("0sessions,0MB", Retention(sessions=0, stored_bytes=0)),
        ("512kb", Retention(stored_bytes=512 * 1024)),
    ],
)
def test_retention_has_an_age_a_number_and_a_size_and_an_omitted_part_keeps_its_default(
    text: str, retention: Retention
) -> None:
    settings = Settings.from_env({"HUD_RETENTION": text})
    assert settings.retention == retention
    limits = settings.limits
    assert (limits.retention_ms, limits.past_sessions, limits.past_bytes) == (
        retention.age_s * 1000, retention.sessions, retention.stored_bytes,
    )  # fmt: skip


def test_retention_bounds_each_stream_by_age_number_and_size() -> None:
    text = "2h, metrics:5000entries, metrics:1mb, metrics:30m, frames:10m, vision:1 entry"
    streams = Settings.from_env({"HUD_RETENTION": text}).limits.streams
    assert streams["metrics"] == Bound(entries=5_000, stream_bytes=1024**2, age_ms=1_800_000)
    assert streams["frames"] == replace(bounds(300.0)["frames"], age_ms=600_000)
    assert streams["vision"] == replace(bounds(300.0)["vision"], entries=1)
    assert streams["iterations"] == bounds(300.0)["iterations"]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HUD_RETENTION", "7d,3d"),
        ("HUD_RETENTION", "many"),
        ("HUD_RETENTION", "10s"),
        ("HUD_RETENTION", "5tb"),
        ("HUD_RETENTION", "7d,"),
        ("HUD_RETENTION", "metrics:5mb,metrics:6mb"),
        ("HUD_RETENTION", "metrics:5sessions"),
        ("HUD_RETENTION", "pictures:5mb"),
        ("HUD_RETENTION", "5entries"),
        ("HUD_RETENTION", "vision:0entries"),
        ("REDIS_URL", "host:6379"),
        ("REDIS_URL", "redis://host:port"),
        ("HUD_URL", "ftp://host"),
        ("HUD_CHANNEL", "a/b"),
        ("HUD_SESSION_TTL", "soon"),
        ("HUD_SESSION_TTL", "0"),
        ("HUD_FPS", "nan"),
        ("HUD_FPS", "0"),
        ("HUD_JPEG_QUALITY", "101"),
        ("HUD_JPEG_QUALITY", "75.5"),
        ("HUD_FRAME_FORMAT", "gif"),
        ("HUD_FRAMES", "sometimes"),
        ("HUD_WORKER_INDEX", "-1"),
    ],
)
def test_a_mistake_names_its_variable(variable: str, value: str) -> None:
    with pytest.raises(ConfigError, match=variable):
        Settings.from_env({variable: value})


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as mistakes:
        Settings.from_env({"HUD_FPS": "x", "HUD_ENV_ID": "y", "HUD_FRAMES": "z"})
    assert all(name in str(mistakes.value) for name in ("HUD_FPS", "HUD_ENV_ID", "HUD_FRAMES"))


def test_an_unknown_argument_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="chanel"):
        Settings.from_env({}, chanel="a")


def test_neither_the_repr_nor_a_mistake_shows_a_secret() -> None:
    settings = Settings.from_env({
        "REDIS_URL": "redis://:secret@host", "HUD_URL": "https://secret@host", "HUD_TOKEN": "secret",
        "HUD_RUN_ID": "secret",
    })  # fmt: skip
    assert "secret" not in repr(settings)
    with pytest.raises(ConfigError) as mistake:
        Settings.from_env({"REDIS_URL": "redis://:secret@host:port"})
    assert "secret" not in str(mistake.value)


def test_several_tokens_are_distinguished() -> None:
    assert Settings.from_env({"HUD_TOKEN": "old, new,"}).tokens == ("old", "new")
    assert Settings.from_env({}).tokens == ()


def test_the_scripts_limits_follow_the_settings() -> None:
    limits = Settings.from_env({"HUD_SESSION_TTL": "10", "HUD_RETENTION": "1h", "HUD_FRAME_HISTORY_S": "60"}).limits
    assert (limits.ttl_ms, limits.retention_ms, limits.streams["frames"].age_ms) == (10_000, 3_600_000, 60_000)
