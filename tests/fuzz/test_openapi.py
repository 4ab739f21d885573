"""The OpenAPI document matches the server: every path and every accepted request."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from openapi_spec_validator import validate
from starlette.routing import Route

from hud_web.app import create_app
from hud_web.settings import WebSettings
from tests.fixtures.openapi import document
from tests.fixtures.web import WebServer


def test_the_document_is_valid_and_has_every_path_and_method_of_the_app() -> None:
    validate(document())
    app = create_app(WebSettings.from_env({"REDIS_URL": "redis://127.0.0.1:1"})).app
    served = {
        (route.path, method.lower())
        for route in app.routes
        if isinstance(route, Route)
        for method in (route.methods or {"GET"})
        if method != "HEAD"
    }
    described = {(path, method) for path, item in document()["paths"].items() for method in item}
    assert described == served


def test_generated_requests_never_break_the_server(standing_web: WebServer, tmp_path: Path) -> None:
    """Requests that the document allows are answered as documented, and no request crashes the server."""
    # The server ignores unknown query parameters; the page adds some.
    (tmp_path / "schemathesis.toml").write_text("[generation]\nallow-extra-parameters = false\n")
    command = [
        str(Path(sys.executable).parent / "schemathesis"), "run", f"{standing_web.url}/openapi.json",
        # An endless body, and a binary one: other tests cover them.
        "--exclude-path", "/stream", "--exclude-path", "/stream/runs", "--exclude-path", "/api/publish", "--no-color",
        "--max-examples", os.environ.get("HUD_FUZZ_EXAMPLES", "8"),
        "--mode", "all", "--request-timeout", "20", "--continue-on-failure",
    ]  # fmt: skip
    is_long = "HUD_FUZZ_EXAMPLES" in os.environ
    command += ["--generation-database", "none"] if is_long else ["--generation-deterministic"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=3_000, check=False)
    assert result.returncode == 0, result.stdout[-6_000:] + result.stderr[-2_000:]
    assert re.search(r"\d+ generated", result.stdout), result.stdout[-2_000:]
    assert standing_web.get("/health") == (200, {"status": "healthy"})
