"""The OpenAPI document states the limits, patterns and names of the code, and is served as it is."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from hud_publisher.protocol import keys
from hud_publisher.protocol.batch_body import MEDIA_TYPE
from hud_publisher.protocol.roles import ROLES
from hud_publisher.protocol.scripts import MAX_CHANNELS
from hud_publisher.protocol.values import NOT_FINITE
from hud_web.api import points
from hud_web.api.archive import MAX_ANNOTATIONS, MAX_REPORTS, MAX_VISION_CALLS
from hud_web.api.channel_index import MAX_LIMIT
from hud_web.api.series import MAX_POINTS
from hud_web.app import OPENAPI, create_app
from hud_web.monitor.annotations import KINDS
from hud_web.settings import WebSettings
from hud_web.store.sse import ENTRY_ID
from hud_web.store.views import SessionStatus
from tests.fixtures.openapi import document, resolved
from tests.unit.web.asgi import call

#: The path of the field that plays a role.
ROLE = {"type": "string", "minLength": 1}


def query(path: str, name: str) -> Any:
    [found] = [one for one in map(resolved, document()["paths"][path]["get"]["parameters"]) if one["name"] == name]
    return resolved(found["schema"])


def body(path: str) -> Any:
    return document()["paths"][path]["post"]["requestBody"]["content"]


def answer(name: str) -> Any:
    return document()["components"]["schemas"][name]


@pytest.mark.parametrize(
    ("path", "name", "most"),
    [
        ("/api/channels", "limit", MAX_LIMIT),
        ("/api/channels", "offset", MAX_CHANNELS),
        ("/api/history", "points", MAX_POINTS),
        ("/api/vision", "limit", MAX_VISION_CALLS),
        ("/api/annotations", "limit", MAX_ANNOTATIONS),
        ("/api/reports", "limit", MAX_REPORTS),
    ],
)
def test_each_limit_is_that_of_its_endpoint(path: str, name: str, most: int) -> None:
    assert query(path, name)["maximum"] == most


def test_the_runs_of_a_request_for_points_are_named_as_the_code_reads_them() -> None:
    runs = query("/api/points", "run")
    channel = keys._CHANNEL.pattern.replace(r"\-", "-").replace("(?:", "(")
    position = points._POSITION.pattern.replace("(?:", "(")
    assert runs["items"]["pattern"] == f"^{channel}:{keys._SID.pattern}@({position})$"
    assert runs["maxItems"] == points.MAX_RUNS


def test_the_patterns_are_those_of_the_code() -> None:
    """An empty channel or session means the default, as if the parameter were missing."""
    channel, session = (f"^({pattern.pattern})?$" for pattern in (keys._CHANNEL, keys._SID))
    assert answer("Channel")["pattern"] == answer("MaybeChannel")["pattern"] == channel.replace(r"\-", "-")
    assert answer("Channel")["default"] == answer("MaybeChannel")["default"] == keys.DEFAULT_CHANNEL
    assert query("/api/state", "session")["pattern"] == session
    assert answer("EntryId")["pattern"] == f"^{ENTRY_ID}$"


def test_the_names_are_those_of_the_code() -> None:
    annotation = answer("Annotations")["properties"]["annotations"]["items"]["properties"]
    since = answer("State")["properties"]["not_finite"]["additionalProperties"]["properties"]
    registration = body("/api/register_session")["application/json"]["schema"]["properties"]
    assert annotation["kind"]["enum"] == list(KINDS)
    assert answer("SessionStatus")["enum"] == list(get_args(SessionStatus))
    assert answer("NotFinite")["enum"] == [*since["value"]["enum"], None] == [*NOT_FINITE, None]
    assert registration["roles"]["properties"] == dict.fromkeys(ROLES, ROLE)
    assert list(body("/api/publish")) == [MEDIA_TYPE]


def test_every_part_of_an_answer_is_required() -> None:
    """A client may rely on each of them; the schemas of errors and of requests leave parts out."""
    for name, schema in document()["components"]["schemas"].items():
        if name != "Error" and "properties" in schema:
            assert schema["required"] == list(schema["properties"]), name


async def test_the_document_is_served_as_it_is_and_names_paths_relative_to_itself() -> None:
    app = create_app(WebSettings.from_env({"REDIS_URL": "redis://127.0.0.1:1"})).app
    for prefix in ("", "/hud"):
        status, headers, text = await call(app, path=f"{prefix}/openapi.json", headers={"Host": "localhost"})
        assert (status, headers["content-type"], text) == (200, "application/json", OPENAPI.read_bytes())
    assert document()["servers"] == [{"url": "./"}]
