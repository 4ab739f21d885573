"""The OpenAPI 3.1 document of the HTTP interface, served at `/openapi.json`.

Written by hand beside the endpoints; a test holds its paths and methods against the app's routes, and another sends
what it allows, and what it does not, to a real server.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from hud_publisher.protocol.batch import MEDIA_TYPE

Schema = dict[str, Any]

_CHANNEL_PATTERN = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
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
            "schemas": {"Error": _ERROR},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }  # fmt: skip


async def openapi(_request: Request) -> JSONResponse:
    """Answer with the document."""
    return JSONResponse(document())


def _reading() -> dict[str, Schema]:
    of_session = [_query("channel", _channel()), _query("session", {"type": "string", "pattern": "^[0-9]{1,16}$"})]
    number = {"type": "integer", "minimum": 0, "maximum": 10**14}
    entry_id = {
        "name": "id", "in": "path", "required": True,
        "schema": {"type": "string", "pattern": "^[0-9]{1,16}-[0-9]{1,19}$"},
    }  # fmt: skip
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
        "/health": _get("The process lives", [], "application/json", ()),
        "/ready": _get("Redis answers and the process stays", [], "application/json", ()),
        "/metrics": _get("Prometheus", [], "text/plain", ()),
        "/openapi.json": _get("This document", [], "application/json", ()),
        "/api/state": _get("Snapshot of a session", of_session, "application/json", (400, 404)),
        "/api/sessions": _get("A channel's sessions", of_session[:1], "application/json", (400,)),
        "/api/history": _get(
            "Down-sampled series of the whole run",
            [*of_session, _query("fields", _TEXT), _query("points", points)],
            "application/json",
            (400, 404),
        ),
        "/api/frames": _get(
            "Index of kept frames",
            [*of_session, _query("from_ms", number), _query("to_ms", number)],
            "application/json",
            (400, 404),
        ),
        "/api/frames/{id}": _get("One frame", [entry_id, *of_session], "image/*", (400, 404)),
        "/api/vision": _get(
            "Newest calls of the vision LLM", [*of_session, _query("limit", limit)], "application/json", (400, 404)
        ),
        "/api/vision/{id}": _get("What the model was shown", [entry_id, *of_session], "image/*", (400, 404)),
        "/api/export": _get(
            "Every kept entry, as CSV or JSON",
            [*of_session, _query("format", {"enum": ["csv", "json"]})],
            "*/*",
            (400, 404),
        ),
    }


def _writing() -> dict[str, Schema]:
    registration = {
        "run_id": _TEXT, "name": _TEXT, "channel": _channel(), "takeover": {"type": "boolean"},
        "info": {"type": "object", "additionalProperties": _TEXT},
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
        "prompt": {"type": ["string", "null"]},
        "response": {"type": ["string", "null"]},
    }
    reporter = {"worker_index": _INDEX, "env_index": _INDEX, "channel": _channel()}
    data = {"type": "object", "additionalProperties": True}
    return {
        "/api/register_session": _post("Take or join a channel", _object(registration), registered, (409,)),
        "/api/update_training": _post(
            "Fields of this moment",
            _object({"session_id": _SESSION_ID, "data": data}, "session_id", "data"),
            _STATUS,
            (403, 413),
        ),
        "/api/update_vision": _post(
            "A live frame, or a call of the vision LLM",
            _object(vision, "session_id", "image_base64"),
            _STATUS,
            (403, 413, 415),
        ),
        "/api/heartbeat": _post("Keep a session", _object({"session_id": _SESSION_ID}, "session_id"), _STATUS, (403,)),
        "/api/release_session": _post(
            "Give a channel up", _object({"session_id": _SESSION_ID}, "session_id"), _STATUS, (403,)
        ),
        "/api/reset_session": _post("End whoever holds a channel", _object({"channel": _channel()}), _STATUS, ()),
        "/api/reporter": _post("Which env to show", _object(reporter, "worker_index", "env_index"), _STATUS, ()),
        "/api/publish": _post(
            "One batch of the publisher",
            {"type": "string", "format": "binary"},
            _STATUS,
            (403, 413, 415),
            media_type=MEDIA_TYPE,
            is_required=True,
        ),
    }


def _channel() -> Schema:
    return {"type": "string", "pattern": _CHANNEL_PATTERN, "default": "default"}


def _object(properties: Schema, *required: str) -> Schema:
    return {"type": "object", "properties": properties} | ({"required": list(required)} if required else {})


def _query(name: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "required": False, "schema": schema}


def _get(summary: str, parameters: list[Schema], media_type: str, refusals: tuple[int, ...]) -> Schema:
    content = {media_type: {"schema": _TEXT if media_type.startswith("text/") else {}}}
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
) -> Schema:
    responses: Schema = {"200": {"description": summary, "content": {"application/json": {"schema": answer}}}}
    is_required = is_required or "required" in body
    return {
        "post": {
            "summary": summary,
            "requestBody": {"required": is_required, "content": {media_type: {"schema": body}}},
            "responses": responses | _refusals(400, 401, *refusals, 413, 429, 503),
        }
    }


def _refusals(*statuses: int) -> Schema:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {str(status): {"description": "Refused", "content": error} for status in sorted(set(statuses))}
