"""The page's files, served without the comments and the indentation of our sources.

Comments and indentation are a third of the bytes that a browser would fetch and parse. Lines keep their numbers, so the
position of an error is right. Called by the app.
"""

from __future__ import annotations

import hashlib
import os
import re
from functools import lru_cache
from importlib import resources
from pathlib import Path

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Scope

STATIC = Path(str(resources.files("hud_web"))) / "static"

#: The pages: path → file. Each one may be opened with the viewing token.
PAGES = {"/": "index.html", "/wall": "wall.html", "/runs": "runs.html"}

#: Comments, types, and indentation; no module has a string that looks like one of them.
_LEFT_OUT = re.compile(rb"^[ \t]*//[^\n]*|[ \t]+// [^\n]*|/\*(?:(?!\*/).)*\*/[ \t]?|^[ \t]+", re.MULTILINE | re.DOTALL)
_MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css"}


class PageFiles(StaticFiles):
    """The page's files. Browsers revalidate each one at each load: modules of two versions do not fit together."""

    def __init__(self) -> None:
        """Serve the package's `static` folder."""
        super().__init__(directory=STATIC)

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """Return the file, or "not modified"."""
        path = Path(full_path)
        media_type = _MEDIA_TYPES.get(path.suffix)
        if media_type is None or "vendor" in path.parts:
            response = super().file_response(full_path, stat_result, scope, status_code)
        else:
            body, tag = _bare(path, stat_result.st_mtime_ns)
            response = Response(body, status_code, {"ETag": tag}, media_type)
            if self.is_not_modified(response.headers, Headers(scope=scope)):
                response = NotModifiedResponse(response.headers)
        response.headers["Cache-Control"] = "no-cache"
        return response


async def serve_page(request: Request) -> Response:
    """Serve a page. Its ETag covers all files of all pages: a wall that runs for weeks learns of an update by it."""
    headers = {"Cache-Control": "no-cache", "ETag": _build_tag()}
    return FileResponse(STATIC / PAGES[request.url.path], headers=headers)


@lru_cache(maxsize=1)
def _build_tag() -> str:
    """Return a digest of all files of the pages, as this process found them at the first request."""
    digest = hashlib.sha256()
    for path in sorted(STATIC.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(STATIC)}\n".encode() + path.read_bytes())
    return f'"{digest.hexdigest()[:20]}"'


@lru_cache(maxsize=256)
def _bare(path: Path, _modified_ns: int) -> tuple[bytes, str]:
    """Return a file without its comments, and its ETag, which is the same on every replica."""
    body = strip_comments(path.read_bytes())
    return body, f'"{hashlib.sha256(body).hexdigest()[:20]}"'


def strip_comments(text: bytes) -> bytes:
    """Return a module or style sheet without its comments and indentation, line by line."""
    return _LEFT_OUT.sub(lambda found: b"\n" * found[0].count(b"\n"), text)
