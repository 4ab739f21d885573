"""The settings of the web tier are those of training and its own; training reads none of a server's variables."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from hud_publisher.protocol.errors import ConfigError
from hud_publisher.protocol.settings import Settings
from hud_web.settings import WebSettings


def test_a_mistake_in_a_variable_of_the_server_stops_no_training() -> None:
    environ = {"HUD_PORT": "70000", "HUD_LOG_LEVEL": "loud", "HUD_FPS": "5"}
    assert Settings.from_env(environ) == Settings(fps=5.0)
    with pytest.raises(ConfigError, match=r"HUD_PORT: .*; HUD_LOG_LEVEL: "):
        WebSettings.from_env(environ)


def test_a_server_names_its_mistakes_and_those_of_shared_variables_at_once() -> None:
    with pytest.raises(ConfigError, match=r"HUD_SESSION_TTL: .*; HUD_INSECURE: "):
        WebSettings.from_env({"HUD_INSECURE": "perhaps", "HUD_SESSION_TTL": "soon"})


def test_training_has_no_setting_of_the_server() -> None:
    with pytest.raises(ConfigError, match=r"no setting is called port: help\(Settings\)"):
        Settings.from_env({}, port=1)
    assert WebSettings.from_env({}, port="1").port == 1


@pytest.mark.parametrize(
    ("environ", "link"),
    [
        ({}, "http://localhost:8086"),
        ({"HUD_PORT": "0"}, None),
        ({"HUD_HOST": "0.0.0.0"}, None),
        ({"HUD_HOST": "0.0.0.0", "HUD_URL": "https://hud.example.org"}, "https://hud.example.org"),
        ({"HUD_URL": "http://user:secret@hud:8086"}, None),
        ({"HUD_URL": "http://hud:8086/secret/path"}, None),
    ],
)
def test_links_in_messages_lead_to_a_known_address_without_secrets(environ: dict[str, str], link: str | None) -> None:
    assert WebSettings.from_env(environ).page_url == link


def test_every_setting_has_a_separate_variable() -> None:
    variables = [item.metadata["variable"] for item in fields(WebSettings)]
    assert len(set(variables)) == len(variables)


def test_settings_can_be_read_again_with_overrides() -> None:
    full = {"HUD_ALLOWED_HOSTS": "[::1]:80,*.example.org", "HUD_RETENTION": "7d,3 sessions", "HUD_TOKEN": "a,b"}
    for environ in ({}, full):
        before = WebSettings.from_env(environ)
        values = {item.name: getattr(before, item.name) for item in fields(before)}
        assert WebSettings.from_env({}, **values | {"channel": "other"}) == replace(before, channel="other")
