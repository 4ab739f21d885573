"""HUD_ALERTS: URLs or a file; every mistake is named with its line, and no URL is ever shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hud_publisher.protocol.errors import ConfigError
from hud_web.alerts.config import DEFAULT_KINDS, PATTERNS, WEAK, read_config
from hud_web.alerts.quiet import QuietTime
from hud_web.alerts.rules import Condition
from hud_web.settings import WebSettings

SECRET = "planted-secret"
URL = f"json://user:{SECRET}@127.0.0.1/{SECRET}?+token={SECRET}"


def write(folder: Path, text: str) -> str:
    path = folder / "alerts.toml"
    path.write_text(text)
    return str(path)


def test_urls_in_the_variable_get_the_default_rules() -> None:
    config = read_config(f"{URL}  jsons://host/a,b\n  {URL} ")
    assert [target.name for target in config.targets.values()] == ["target 1 (JSON)", "target 2 (JSON)"]
    [rule] = config.rules.rules
    assert (rule.kinds, rule.excluded, rule.targets) == (DEFAULT_KINDS, WEAK, tuple(config.targets))


def test_a_target_keeps_its_id_in_another_order() -> None:
    first, second = read_config(f"{URL} json://other").targets, read_config(f"json://other {URL}").targets
    assert set(first) == set(second)
    assert list(first) != list(second)


def test_a_file_has_rules(tmp_path: Path) -> None:
    config = read_config(
        write(tmp_path, f"""
targets = ["{URL}"]
link = "https://hud.example.org/hud/"
group_s = 30
repeat_s = 60
quiet = "22:00-07:00 Europe/Berlin"

[[rule]]
name = "NaN"
pattern = ["nan", "symptom"]
except = ["kl_spike"]
channels = ["team-*"]

[[rule]]
when = "learner/kl > 0.1"
for = "2 min"
targets = ["json://other"]
""")
    )  # fmt: skip
    general, own = config.targets
    nan, kl = config.rules.rules
    assert (nan.name, nan.kinds, nan.excluded, nan.channels, nan.targets) == (
        "NaN", {"non_finite", "symptom"}, {"kl_spike"}, ("team-*",), (general,),
    )  # fmt: skip
    assert (kl.name, kl.condition, kl.for_ms, kl.targets) == (
        "rule 2", Condition("learner/kl", ">", 0.1), 120_000, (own,),
    )  # fmt: skip
    assert (config.link, config.group_s, config.rules.repeat_ms) == ("https://hud.example.org/hud", 30, 60_000)
    assert config.quiet is not None


def test_all_mistakes_of_a_file_are_named_with_their_lines(tmp_path: Path) -> None:
    text = f"""targets = [
  "json://good",
  "jso://{SECRET}",
]
link = "hud.example.org"
quiet = "at night"
colour = 5
[[rule]]
name = "a"
[[rule]]
name = "a"
pattern = "nam"
for = "2 parsecs"
"""
    with pytest.raises(ConfigError) as caught:
        read_config(write(tmp_path, text))
    message = str(caught.value)
    for part in (
        "line 3: target 2: expected a URL of Apprise", "scheme jso://", "line 5: link:", "line 6: quiet:",
        "line 7:", "'colour'", "line 8: rule 1: expected either `pattern` or `when`",
        "line 12: rule 2 pattern: no pattern is called 'nam'", "line 13: rule 2 for:", "two rules have one name",
    ):  # fmt: skip
        assert part in message, (part, message)
    assert SECRET not in message


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("targets = [", "is not TOML"),
        ('targets = ["json://a"]\n[rule]\nname = "a"', "tables [[rule]]"),
        ('[[rule]]\npattern = "nan"', "it has no target"),
        ("group_s = 1", "it names no target"),
        ('targets = "json://a"\ngroup_s = true', "group_s: expected a number of seconds"),
        ('targets = ["json://a"]\nquiet = "22:00-07:00 Mars/Olympus"', "expected a time zone"),
    ],
)
def test_a_mistake_names_its_fix(tmp_path: Path, text: str, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(write(tmp_path, text))
    assert part in str(caught.value)


@pytest.mark.parametrize("value", [f"nosuch://{SECRET}", SECRET, f"/{SECRET}.txt", f"json://ok slack://{SECRET}"])
def test_no_mistake_of_the_variable_shows_its_value(value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(value)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_symptoms_that_are_left_out_by_default_exist() -> None:
    assert set(PATTERNS) > WEAK


def test_every_failure_pattern_of_the_documents_can_be_named() -> None:
    text = (Path(__file__).parents[3] / "docs/verdicts.md").read_text()
    table = text[text.index("| pattern |") :]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) <= set(PATTERNS)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"/nowhere/alerts\.toml cannot be read \(No such file"):
        read_config("/nowhere/alerts.toml")


def test_no_repr_shows_a_target() -> None:
    settings = WebSettings.from_env({"HUD_ALERTS": URL})
    assert SECRET not in repr(settings) + repr(read_config(URL))


def moment(text: str) -> int:
    from datetime import UTC, datetime

    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("text", "quiet", "loud"),
    [
        ("22:00-07:00", ["22:00", "23:59", "00:00", "06:59"], ["07:00", "12:00", "21:59"]),
        ("1:30 - 2:00", ["01:30", "01:59"], ["01:29", "02:00"]),
        ("22:00-07:00 Europe/Berlin", ["20:00", "04:59"], ["19:59", "05:00"]),
    ],
)
def test_quiet_times(text: str, quiet: list[str], loud: list[str]) -> None:
    found = QuietTime.parse(text)
    assert all(found.holds_at(moment(f"2026-07-01 {at}")) for at in quiet)
    assert not any(found.holds_at(moment(f"2026-07-01 {at}")) for at in loud)
