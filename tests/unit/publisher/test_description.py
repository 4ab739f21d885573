"""The configuration: the program's part, the parts that the publisher reads, the time of each, and its process."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hud_publisher import ConfigError, Publisher
from hud_publisher.arguments import describes_run
from hud_publisher.description import Description
from hud_publisher.origin import read_command, read_git, read_versions, without_home
from hud_publisher.protocol.batch import Registered
from hud_publisher.protocol.errors import MalformedError, UnavailableError
from hud_publisher.protocol.keys import SessionId, Sid
from hud_publisher.redaction import HIDDEN, Redactor
from hud_publisher.sender import describer as describer_module
from hud_publisher.sender.describer import TOGETHER_S, Describer
from tests.fixtures.publishing import MemorySink


def session(number: int = 1) -> Registered:
    return Registered(SessionId(f"default.{number}.{'s' * 16}"), Sid(str(number)), False, 30_000)


class Desk:
    """A describer with its description, its sink and a clock."""

    def __init__(self, is_first: bool | None = None, **config: Any) -> None:
        self.now = 100.0
        self.sink = MemorySink(session=session().session_id)
        self.description = Description()
        if config:
            self.description.configure(config)
        redactor = Redactor(["planted-value"], {})
        self.describer = Describer(
            self.description, self.sink, lambda: redactor, "host", is_first=is_first, draw=lambda: 1.0
        )

    def tell(self, number: int = 1, *, is_ours: bool = True, is_closing: bool = False) -> bool:
        return self.describer.tell(session(number), self.now, is_ours=is_ours, is_closing=is_closing)

    @property
    def told(self) -> list[dict[str, Any]]:
        return [{name: json.loads(text) for name, text in texts.items()} for texts, _ in self.sink.described]


@pytest.fixture(autouse=True)
def no_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(describer_module, "read_git", lambda: {"commit": "abc"})


def test_the_first_process_tells_its_configuration_and_where_it_comes_from() -> None:
    desk = Desk(lr=0.1, seed=None)
    assert desk.tell()
    [told] = desk.told
    assert told["config"] == {"lr": 0.1, "seed": None}
    assert told.keys() == {"config", "command", "versions"}
    assert told["command"]["host"] == "host"
    assert "python" in told["command"]["line"]
    assert not desk.tell()
    desk.describer.look()
    desk.now += TOGETHER_S
    assert desk.tell()
    assert desk.told[-1] == {"git": {"commit": "abc"}}
    assert not desk.describer.is_pending()


def test_a_process_that_joined_tells_only_what_it_was_told_and_replaces_nothing() -> None:
    desk = Desk()
    assert not desk.tell(is_ours=False)
    desk.describer.look()
    desk.description.configure({"lr": 1})
    assert desk.describer.is_pending()
    desk.now += TOGETHER_S
    assert desk.tell(is_ours=False)
    assert desk.sink.described == [({"config": '{"lr":1}'}, False)]


def test_only_the_changed_section_is_sent_and_changes_go_together() -> None:
    desk = Desk(lr=0.1, net={"layers": [64]})
    desk.tell()
    desk.description.configure({"lr": 0.2})
    desk.description.configure({"gamma": 0.99})
    assert not desk.tell()
    assert desk.tell(is_closing=True)
    assert desk.told[-1] == {"config": {"lr": 0.2, "net": {"layers": [64]}, "gamma": 0.99}}


def test_a_new_session_gets_everything_again() -> None:
    desk = Desk(lr=0.1)
    desk.tell()
    desk.sink.session = session(2).session_id
    assert desk.tell(2)
    assert desk.told[1] == desk.told[0]


def test_a_failure_is_retried_later_and_does_not_hold_up_closing() -> None:
    desk = Desk(lr=0.1)
    desk.sink.describe_errors.extend([UnavailableError("no answer"), UnavailableError("no answer")])
    assert desk.tell()
    assert not desk.describer.is_pending()
    assert not desk.tell(is_closing=True)
    desk.now += 1.0
    assert desk.tell()
    desk.now += 1.0
    assert not desk.tell()
    desk.now += 1.0
    assert desk.tell()
    assert desk.told[0]["config"] == {"lr": 0.1}


def test_a_refusal_is_final(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(lr=0.1)
    desk.sink.describe_errors.append(MalformedError("an older server"))
    assert desk.tell()
    desk.now += 60.0
    assert not desk.tell()
    assert not desk.describer.is_pending()
    assert "an older server" in caplog.text


def test_no_secret_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.orig_argv", ["python", "train.py", "--api-key", "hunter2222", "--lr", "0.1"])
    desk = Desk(
        api_key="sk-12345678901234567890", db={"url": "postgres://me:hunter2222@host/db", "password": "hunter2222"},
        note="it holds planted-value here", lr=0.1,
    )  # fmt: skip
    desk.tell()
    sent = json.dumps(desk.told)
    for secret in ("sk-123", "hunter2222", "planted-value"):
        assert secret not in sent
    [told] = desk.told
    assert told["config"]["lr"] == 0.1
    assert told["config"]["api_key"] == HIDDEN
    assert "--lr 0.1" in told["command"]["line"]


@pytest.mark.parametrize(
    ("role", "begins", "describes"),
    [("driver", None, True), ("driver", False, False), ("w2", None, False), ("w0", True, False), (None, None, None),
     (None, True, True), ("actor", False, False)],
)  # fmt: skip
def test_the_driver_describes_the_run_and_env_runners_do_not(
    role: str | None, begins: bool | None, describes: bool | None
) -> None:
    assert describes_run(role, begins) is describes


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)


def test_the_state_of_git_is_read_without_the_user_of_its_address(tmp_path: Path) -> None:
    git(tmp_path, "init", "-b", "trunk")
    (tmp_path / "train.py").write_text("pass\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    git(tmp_path, "remote", "add", "origin", "https://me:hunter2222@example.org/repo.git")
    (tmp_path / "untracked").write_text("")
    found = read_git([str(tmp_path)])
    assert len(found.pop("commit")) == 40
    assert found == {"branch": "trunk", "changed": False, "remote": "https://example.org/repo.git"}
    (tmp_path / "train.py").write_text("more\n")
    assert read_git([str(tmp_path)])["changed"] is True


def test_outside_of_git_and_without_git_nothing_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_git([str(tmp_path / "missing")]) == {}
    monkeypatch.setenv("PATH", "")
    assert read_git(["."]) == {}


def test_versions_come_from_the_names_of_folders(tmp_path: Path) -> None:
    for name in ("torch-2.9.1.dist-info", "stable_baselines3-2.7.0.dist-info", "other-1.dist-info", "ray-2.egg-info"):
        (tmp_path / name).mkdir()
    found = read_versions([str(tmp_path), str(tmp_path / "missing")])
    assert found.pop("python")
    assert found == {"torch": "2.9.1", "stable-baselines3": "2.7.0", "ray": "2"}
    assert "numpy" in read_versions()


def test_the_home_directory_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/jane")
    assert without_home("/home/jane/x --out=/home/jane/y /home/janet/z") == "~/x --out=~/y /home/janet/z"
    monkeypatch.setattr("os.getcwd", lambda: "/home/jane/runs")
    assert read_command(Redactor([], {}), "h")["folder"] == "~/runs"


def test_a_configuration_that_is_none_is_refused_with_the_fix() -> None:
    with pytest.raises(ConfigError, match=r"config=.*vars\(args\)"):
        Publisher(redis_url="redis://nowhere", config=["lr"])  # type: ignore[arg-type]
    hud = Publisher(redis_url="redis://nowhere", config={"lr": 0.1})
    hud.configure(7)  # type: ignore[arg-type]
    hud.configure({"gamma": 0.9}, section="more")
    assert hud._description.sections == {"config": {"lr": 0.1}, "more": {"gamma": 0.9}}
