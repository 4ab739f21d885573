"""The page in the output of a notebook's cell."""

from __future__ import annotations

import re

import pytest

from hud_publisher import Publisher
from hud_publisher.notebook import view_of
from hud_publisher.protocol.errors import ConfigError

PAGE = "http://127.0.0.1:8086"


def test_a_view_is_an_iframe_of_the_channels_page_with_a_link_below() -> None:
    told = view_of(PAGE, "zelda~2", environ={})._repr_html_()
    assert re.findall(r'(?:src|href)="([^"]+)"', told) == [f"{PAGE}/?channel=zelda~2"] * 2
    assert 'height="800"' in told


def test_a_part_is_named_in_the_address() -> None:
    assert view_of(PAGE + "/hud/", "a", "stage", environ={}).url == f"{PAGE}/hud/?channel=a&embed=stage"
    view = view_of(PAGE, "a", "chart", chart='loss "1"', height=200, environ={})
    assert view.url == f"{PAGE}/?channel=a&embed=chart&chart=loss+%221%22"
    assert "&amp;chart=loss+%221%22" in view._repr_html_()
    assert view.height == 200


@pytest.mark.parametrize("arguments", [("film",), ("chart",), ("stage", "loss")])
def test_a_part_that_does_not_exist_is_refused_with_the_fix(arguments: tuple[str, ...]) -> None:
    part, *chart = arguments
    with pytest.raises(ConfigError, match=r"show\(\): "):
        view_of(PAGE, "a", part, chart=chart[0] if chart else None, environ={})


def test_at_jupyterhub_the_page_of_this_machine_is_below_the_users_prefix() -> None:
    hub = {"JUPYTERHUB_SERVICE_PREFIX": "/user/ada/"}
    assert view_of(PAGE, "a", environ=hub).url == "/user/ada/proxy/8086/?channel=a"
    assert view_of("https://hud.example.org", "a", environ=hub).url == "https://hud.example.org/?channel=a"


def test_a_publisher_shows_its_run() -> None:
    hud = Publisher(hud_url=PAGE, channel="zelda")
    assert hud.show().url == f"{PAGE}/?channel=zelda"
    assert hud.show(url="https://hud.example.org/x").url == "https://hud.example.org/x/?channel=zelda"
    assert "embed=card" in hud._repr_html_()
    hud.close()


def test_a_page_whose_address_is_unknown_names_the_fix() -> None:
    hud = Publisher(redis_url="redis://127.0.0.1:1", hud_url=None)
    assert hud.show().url is None
    assert "set HUD_URL" in hud._repr_html_()
    assert "iframe" not in hud._repr_html_()
    hud.close()
