"""The OpenAPI 3.1 document of the HTTP interface, served at `/openapi.json`.

Written by hand beside the endpoints; a test holds its paths and methods against the app's routes, and another sends
what it allows, and what it does not, to a real server.
"""

from __future__ import annotations

from typing import Any, get_args

from starlette.requests import Request
from starlette.responses import JSONResponse

from hud_publisher.protocol.batch import MEDIA_TYPE
from hud_web.store import SessionStatus

Schema = dict[str, Any]

#: Empty text is the default, as if the parameter were not there.
_CHANNEL_PATTERN = "^([A-Za-z0-9][A-Za-z0-9_.-]{0,63})?$"
_SESSION_PATTERN = "^([0-9]{1,16})?$"
_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_ERROR: Schema = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": _TEXT, "detail": _TEXT, "holder": {"type": "object"}, "retry_after_s": _COUNT},
}
_SESSION_ID: Schema = {"type": "string", "description": "the secret that register_session answered"}
_STATUS = {"type": "object", "required": ["status"], "properties": {"status": _TEXT}}
_INDEX: Schema = {"type": "integer", "minimum": 0, "maximum": 1_000_000}
_STEP: Schema = {"description": "a whole number from 0; anything else says nothing"}
_MAYBE_COUNT: Schema = {"type": ["integer", "null"], "minimum": 0}
_MAYBE_TEXT: Schema = {"type": ["string", "null"]}
_ENTRY_ID: Schema = {"type": "string", "pattern": "^[0-9]{1,16}-[0-9]{1,19}$"}
_TIME: Schema = {"type": "integer", "minimum": 0, "maximum": 10**14, "description": "Unix time in milliseconds"}


def document() -> Schema:
    """Return the document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "HUD", "version": "1", "license": {"name": "MIT", "identifier": "MIT"},
            "description": "The live head-up display for reinforcement learning. Events: docs/protocol.md.",
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"bearer": []}],
        "paths": _reading() | _writing(),
        "components": {
            "schemas": {"Error": _ERROR} | _answers(),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }  # fmt: skip


async def openapi(_request: Request) -> JSONResponse:
    """Answer with the document."""
    return JSONResponse(document())


def _reading() -> dict[str, Schema]:
    of_session = [_query("channel", _channel()), _query("session", {"type": "string", "pattern": _SESSION_PATTERN})]
    between = [_query("from_ms", _TIME), _query("to_ms", _TIME)]
    entry_id = {"name": "id", "in": "path", "required": True, "schema": _ENTRY_ID}
    fps = {"type": "number", "minimum": 0.05, "maximum": 120}
    stream = [
        *of_session,
        _query("frames", {"enum": ["0", "1"]}),
        _query("fps", fps),
        _query("last_event_id", _TEXT),
    ]
    points = {"type": "integer", "minimum": 2, "maximum": 2000}
    limit = {"type": "integer", "minimum": 1, "maximum": 200}
    return {
        "/": _get("The dashboard", [_query("channel", _TEXT), _query("session", _TEXT)], "text/html", (401,)),
        "/stream": _get("Server-Sent Events", stream, "text/event-stream", (400, 429)),
        "/health": _get("The process lives", [], "application/json", (), _STATUS),
        "/ready": _get("Redis answers and the process stays", [], "application/json", (), _STATUS),
        "/metrics": _get("Prometheus", [], "text/plain", ()),
        "/openapi.json": _get("This document", [], "application/json", ()),
        "/api/state": _get("Snapshot of a session", of_session, "application/json", (400, 404), _ref("State")),
        "/api/sessions": _get("A channel's sessions", of_session[:1], "application/json", (400,), _ref("Sessions")),
        "/api/history": _get(
            "Down-sampled series of the whole run",
            [*of_session, _query("fields", _TEXT), _query("points", points)],
            "application/json",
            (400, 404),
            _ref("History"),
        ),
        "/api/frames": _get(
            "Index of kept frames",
            [*of_session, *between],
            "application/json",
            (400, 404),
            _ref("Frames"),
        ),
        "/api/frames/{id}": _get("One frame", [entry_id, *of_session], "image/*", (400, 404)),
        "/api/vision": _get(
            "Newest calls of the vision LLM",
            [*of_session, _query("limit", limit)],
            "application/json",
            (400, 404),
            _ref("Calls"),
        ),
        "/api/vision/{id}": _get("What the model was shown", [entry_id, *of_session], "image/*", (400, 404)),
        "/api/export": _get(
            "Every kept entry, as CSV or JSON",
            [*of_session, *between, _query("format", {"enum": ["csv", "json"]})],
            "*/*",
            (400, 404),
        ),
    }


def _writing() -> dict[str, Schema]:
    maybe_channel = _channel() | {"type": ["string", "null"]}
    registration = {
        "run_id": _MAYBE_TEXT, "name": _MAYBE_TEXT, "channel": maybe_channel,
        "takeover": {"description": "true ends another run's session; anything else does not"},
        "info": {
            "type": ["object", "null"], "additionalProperties": True, "description": "shown as text, 64 at most",
        },
    }  # fmt: skip
    registered = {
        "type": "object",
        "required": ["session_id", "status", "fence", "ttl_s"],
        "properties": {
            "session_id": _SESSION_ID, "status": {"enum": ["registered", "joined"]}, "fence": _COUNT,
            "ttl_s": {"type": "number"},
        },
    }  # fmt: skip
    vision = {
        "session_id": _SESSION_ID,
        "image_base64": {"type": "string", "description": "JPEG, PNG or WebP, in base64"},
        "response_time": {"type": ["number", "null"], "minimum": 0, "description": "milliseconds"},
        "prompt": _MAYBE_TEXT,
        "response": _MAYBE_TEXT,
        "step": _STEP,
    }
    reporter = {"worker_index": _INDEX, "env_index": _INDEX, "channel": maybe_channel}
    data = {"type": "object", "additionalProperties": True}
    return {
        "/api/register_session": _post(
            "Take or join a channel", _object(registration), registered, (409,), of_channel=True
        ),
        "/api/update_training": _post(
            "Fields of this moment",
            _object({"session_id": _SESSION_ID, "data": data, "step": _STEP}, "session_id", "data"),
            _STATUS,
            (403, 413),
        ),
        "/api/update_vision": _post(
            "A live frame, or a call of the vision LLM",
            _object(vision, "session_id", "image_base64"),
            _STATUS,
            (403, 413, 415),
        ),
        "/api/heartbeat": _post(
            "Keep a session", _object({"session_id": _SESSION_ID}, "session_id"), _ref("Feedback"), (403,)
        ),
        "/api/release_session": _post(
            "Give a channel up", _object({"session_id": _SESSION_ID}, "session_id"), _STATUS, (403,)
        ),
        "/api/reset_session": _post(
            "End whoever holds a channel", _object({"channel": maybe_channel}), _STATUS, (), of_channel=True
        ),
        "/api/reporter": _post(
            "Which env to show", _object(reporter, "worker_index", "env_index"), _STATUS, (), of_channel=True
        ),
        "/api/publish": _post(
            "One batch of the publisher",
            {"type": "string", "format": "binary"},
            _ref("Feedback"),
            (403, 413, 415),
            media_type=MEDIA_TYPE,
            is_required=True,
        ),
    }


def _answers() -> dict[str, Schema]:
    """What the server answers with, by name."""
    session = _whole({
        "channel": _channel(), "sid": _MAYBE_TEXT, "status": {"enum": list(get_args(SessionStatus))}, "name": _TEXT,
        "started_ms": _MAYBE_COUNT, "ended_ms": _MAYBE_COUNT, "ended_by": _MAYBE_TEXT,
        "ttl_s": {"type": ["number", "null"]}, "reporter": {}, "info": {"type": "object"},
    })  # fmt: skip
    about_session = {"channel": _channel(), "session": _TEXT}
    picture = {"id": _ENTRY_ID, "time_ms": _COUNT, "step": _MAYBE_COUNT}
    numbers = {"type": "array", "items": {"type": ["number", "null"]}}
    series = _whole({"step": numbers, "time_ms": numbers, "value": numbers})
    env = {"type": ["array", "object", "null"]}
    frame = _whole({**picture, "episode": _MAYBE_COUNT, "env": env, "bytes": _COUNT})
    call = _whole({
        **picture, "source": {"const": "vlm"}, "mime": _TEXT, "bytes": _COUNT, "prompt": _MAYBE_TEXT,
        "response": _MAYBE_TEXT, "response_time": {"type": ["number", "null"]}, "extra": {"type": "object"},
    })  # fmt: skip
    shown = _whole({**picture, "image": _TEXT, "source": {"enum": ["env", "vlm"]}, "mime": _TEXT})
    maybe_shown = {"anyOf": [{"type": "null"}, shown]}
    return {
        "Session": session,
        "State": _whole({
            "session": _ref("Session"), "state": {"type": "object"}, "viewers": _COUNT, "server_time_ms": _COUNT,
            "frame": maybe_shown, "vision": maybe_shown,
        }),
        "Sessions": _whole({"channel": _channel(), "sessions": {"type": "array", "items": _ref("Session")}}),
        "History": _whole({
            **about_session, "fields": {"type": "array", "items": _TEXT},
            "series": {"type": "object", "additionalProperties": series},
        }),
        "Frames": _whole({**about_session, "frames": {"type": "array", "items": frame}}),
        "Calls": _whole({**about_session, "calls": {"type": "array", "items": call}}),
        "Feedback": _whole({
            "status": {"enum": ["ok", "duplicate"]}, "viewers": _COUNT, "reporter": {"type": ["object", "null"]},
            "last_id": _MAYBE_TEXT, "shown": {}, "shown_age_ms": {},
        }),
    }  # fmt: skip


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _whole(properties: Schema) -> Schema:
    return _object(properties, *properties)


def _channel() -> Schema:
    return {"type": "string", "pattern": _CHANNEL_PATTERN, "default": "default"}


def _object(properties: Schema, *required: str) -> Schema:
    return {"type": "object", "properties": properties} | ({"required": list(required)} if required else {})


def _query(name: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "required": False, "schema": schema}


def _get(
    summary: str, parameters: list[Schema], media_type: str, refusals: tuple[int, ...], answer: Schema | None = None
) -> Schema:
    content = {media_type: {"schema": answer or (_TEXT if media_type.startswith("text/") else {})}}
    responses = {"200": {"description": summary, "content": content}} | _refusals(*refusals, 401, 503)
    return {"get": {"summary": summary, "parameters": parameters, "responses": responses}}


def _post(
    summary: str,
    body: Schema,
    answer: Schema,
    refusals: tuple[int, ...],
    *,
    media_type: str = "application/json",
    is_required: bool = False,
    of_channel: bool = False,
) -> Schema:
    responses: Schema = {"200": {"description": summary, "content": {"application/json": {"schema": answer}}}}
    is_required = is_required or "required" in body
    return {
        "post": {
            "summary": summary,
            "parameters": [_query("channel", _channel())] if of_channel else [],
            "requestBody": {"required": is_required, "content": {media_type: {"schema": body}}},
            "responses": responses | _refusals(400, 401, *refusals, 413, 429, 503),
        }
    }


def _refusals(*statuses: int) -> Schema:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {str(status): {"description": "Refused", "content": error} for status in sorted(set(statuses))}
