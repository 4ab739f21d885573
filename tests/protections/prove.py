"""Removes every protection, one at a time, and shows that a test fails without it: `make prove-protections`.

Works on a copy of the tree. It reports a protection whose removal no test notices, and a protection that is not at the
place in this list: then correct the list.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
ACCESS, API, UNIT = "tests/integration/test_access.py", "tests/integration/test_api.py", "tests/unit"
ALERTS = "tests/integration/test_alerts.py"
WIRE, PREFIX = "tests/integration/test_wire.py", "tests/unit/web/test_prefix.py"


@dataclass(frozen=True)
class Removal:
    """One removal: `old` in `file` becomes `new`, and `tests` (pytest's arguments) must fail."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def header(name: str) -> Removal:
    """One of the headers that every answer carries."""
    return Removal(
        f"header {name}", "hud_web/http/headers.py", f'"{name}"', '"X-Removed"', (ACCESS, "-k", "security_headers")
    )


REMOVALS = [
    *(
        header(name)
        for name in (
            "Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy", "Cross-Origin-Opener-Policy",
            "Cross-Origin-Resource-Policy",
        )
    ),
    Removal("frame-ancestors", "hud_web/http/headers.py", "frame-ancestors 'none'; ", "", (ACCESS, "-k", "security_headers")),
    Removal("writing token", "hud_web/http/auth.py", "if not bears_token(request, tokens):", "if False:", (API, "-k", "token_set")),
    Removal("takeover needs a token", "hud_web/http/auth.py", "        if always:", "        if False:", (API, "-k", "refused")),
    Removal("viewing token", "hud_web/access/viewing.py", "if self._may_look(request) else", "if True else", (ACCESS, "-k", "viewing_token")),
    Removal("cookie is a digest", "hud_web/access/viewing.py", "COOKIE, _digest(token),", "COOKIE, token,", (ACCESS, "-k", "viewing_token")),
    Removal("cookie HttpOnly", "hud_web/access/viewing.py", "httponly=True", "httponly=False", (ACCESS, "-k", "viewing_token")),
    Removal("cookie Secure", "hud_web/access/viewing.py", "secure=is_tls", "secure=False", (ACCESS, "-k", "cookie_is_for_tls")),
    Removal("cookie SameSite", "hud_web/access/viewing.py", 'samesite="lax"', 'samesite="none"', (ACCESS, "-k", "viewing_token")),
    Removal("view token is not for writing", "hud_web/api/writing.py", "self._tokens = tokens", "self._tokens = (*tokens, 'new-view')", (ACCESS, "-k", "viewing_token")),
    Removal("no shared cache", "hud_web/access/viewing.py", "receive, _private(send))", "receive, send)", (ACCESS, "-k", "shared_cache")),
    Removal("link is the page's alone", "hud_web/access/viewing.py", "page not in PAGES", "False", (ACCESS, "-k", "viewing_token")),
    Removal("headers where the host is refused", "hud_web/app.py", "            Middleware(SecurityHeaders, is_shared=bool(settings.cors_origins), ancestors=settings.frame_ancestors),\n            Middleware(CrashGuard),\n            Middleware(TrustedHosts, hosts=_trusted_hosts(settings)),", "            Middleware(TrustedHosts, hosts=_trusted_hosts(settings)),\n            Middleware(SecurityHeaders, is_shared=bool(settings.cors_origins), ancestors=settings.frame_ancestors),\n            Middleware(CrashGuard),", (ACCESS, "-k", "security_headers")),
    Removal("no writing below a path prefix", "hud_web/http/prefix.py", "if scope[\"method\"] not in SAFE_METHODS and", "if False and", (PREFIX, "-k", "writes")),
    Removal("no metrics below a path prefix", "hud_web/http/prefix.py", "_ROOT_ONLY = frozenset({\"/metrics\"})", "_ROOT_ONLY = frozenset()", (PREFIX, "-k", "no_endpoint")),
    Removal("headers of an answer to malformed HTTP", "hud_web/http/wire.py", "headers = HEADERS | {", "headers = {", (ACCESS, "-k", "no_http")),
    Removal("a defect's inside is not shown", "hud_web/app.py", "            Middleware(CrashGuard),\n", "", (UNIT, "-k", "defect")),
    Removal("one Host header", "hud_web/access/hosts.py", "if len(given) == 1 else", "if given else", (ACCESS, "-k", "not_quite_right")),
    Removal("no writing by another origin's page", "hud_web/app.py", "            Middleware(OwnOrigin),\n", "", (ACCESS, "-k", "another_origin")),
    Removal("an empty token is a mistake", "hud_publisher/protocol/settings.py", "if not found or not all(", "if False and not all(", (UNIT, "-k", "token_that_is_none")),
    Removal("trusted hosts", "hud_web/app.py", '("localhost", "127.0.0.1", "::1", settings.host) if settings.is_loopback else ("*",)', '("*",)', (ACCESS, "-k", "named_hosts")),
    Removal("CORS methods", "hud_web/app.py", 'allow_methods=["GET"]', 'allow_methods=["*"]', (ACCESS, "-k", "other_origins")),
    Removal("CORS origins", "hud_web/app.py", "allow_origins=list(settings.cors_origins)", 'allow_origins=["*"]', (ACCESS, "-k", "other_origins")),
    Removal("no listening beyond loopback", "hud_web/cli.py", "settings.tokens or settings.insecure", "True", (ACCESS, "-k", "beyond_loopback")),
    Removal("registration rate", "hud_web/access/limits.py", "(wait_s := buckets.take(address))", "(wait_s := 0.0)", (ACCESS, "-k", "registers_too_often")),
    Removal("streams per address", "hud_web/access/limits.py", "if held >= self._most_streams:", "if False:", (ACCESS, "-k", "so_many_streams")),
    Removal("proxies are not believed", "hud_web/http/proxies.py", 'self._trust.trusts(scope["client"][0] if scope.get("client") else "")', "True", (ACCESS, "-k", "trusted_proxy")),
    Removal("view-only port", "hud_web/access/view_only.py", "if came_by_view and", "if False and", ("tests/unit/web/test_view_only.py", "tests/integration/test_ports.py")),
    Removal("body size", "hud_web/http/body.py", "if size > most_bytes:", "if False:", (ACCESS, "-k", "in_chunks")),
    Removal("body time", "hud_web/http/body.py", "BODY_TIMEOUT_S = 10.0", "BODY_TIMEOUT_S = 1000.0", (ACCESS, "-k", "slow_sender")),
    Removal("head time", "hud_web/http/wire.py", "HEAD_TIMEOUT_S = 10.0", "HEAD_TIMEOUT_S = 1000.0", (ACCESS, "-k", "drips")),
    Removal("head size", "hud_web/http/wire.py", "if self._unparsed_bytes > MAX_HEAD_BYTES", "if False", (WIRE, "-k", "without_end")),
    Removal("limit for a request that never ends", "hud_web/http/wire.py", "        if self._is_idle:\n            self._time_head()\n", "", (WIRE, "-k", "drips", "--timeout", "10")),
    Removal("stalled answers", "hud_web/http/wire.py", "            self._time_stall()\n\n    def resume", "            pass\n\n    def resume", (WIRE, "-k", "takes_nothing")),
    Removal("unpacked size", "hud_web/http/body.py", "    if len(data) > most_bytes:", "    if False:", (ACCESS, "-k", "unpacked")),
    Removal("write rate", "hud_web/access/limits.py", 'self._registrations if path == "/api/register_session" else self._writes', "self._registrations", (UNIT, "-k", "writes_too_often")),
    Removal("entries per batch", "hud_publisher/protocol/batch_body.py", 'if len(header["entries"]) > MAX_BATCH_ENTRIES:', "if False:", ("tests/unit/protocol/test_batch.py",)),
    Removal("writers' names", "hud_publisher/protocol/batch_body.py", " or not _WRITER.fullmatch(writer)", "", ("tests/unit/protocol/test_batch.py",)),
    Removal("channels' names", "hud_publisher/protocol/keys.py", " or not _CHANNEL.fullmatch(channel)", "", ("tests/unit/protocol/test_keys.py",)),
    Removal("image bytes", "hud_publisher/protocol/images.py", "if len(data) > MAX_IMAGE_BYTES:", "if False:", ("tests/unit/protocol/test_images.py",)),
    Removal("no forged line in the log", "hud_web/access/logs.py", "else TextFormatter(_TEXT)", "else logging.Formatter(_TEXT)", (UNIT, "-k", "no_other_line")),
    Removal("metrics stay inside", "hud_web/access/view_only.py", 'frozenset({"/metrics"})', "frozenset[str]()", (UNIT, "-k", "metrics_stay_inside")),
    Removal("entry size", "hud_publisher/protocol/batch_body.py", "if size > MAX_METRICS_BYTES:", "if False:", (API, "-k", "refused")),
    Removal("fields per session", "hud_publisher/protocol/lua/publish.lua", "states <= space or", "true or", (API, "-k", "ten_thousand")),
    Removal("image kind", "hud_publisher/protocol/images.py", "    if info is None or", "    if False and info is None or", (API, "-k", "refused")),
    Removal("image pixels", "hud_publisher/protocol/images.py", "if info.width * info.height > MAX_IMAGE_PIXELS:", "if False:", (API, "-k", "refused")),
    Removal("names without control characters", "hud_publisher/protocol/names.py", '_CONTROL.sub(" ", ', "str(", (UNIT, "-k", "name")),
    Removal("session id checked", "hud_publisher/protocol/lua/publish.lua", "if redis.pcall('GET', lock) ~= session_id then", "if false then", (API, "-k", "refused")),
    Removal("lock respected", "hud_publisher/protocol/lua/register.lua", "if held and takes_over ~= '1' then", "if false then", (API, "-k", "second_run")),
    Removal("run id is a digest", "hud_publisher/protocol/scripts.py", 'return hashlib.blake2b(run_id.encode("utf-8", "surrogatepass"), digest_size=32).hexdigest() if run_id else ""', 'return run_id or ""', (UNIT, "-k", "digest or run_id")),
    Removal("no formula in CSV", "hud_web/api/archive.py", "return f\"'{value}\" if", "return value if", (API, "-k", "formula")),
    Removal("session hash is not shown", "hud_publisher/protocol/info.py", "return {clean_name(name): value", "return dict(stored) | {clean_name(name): value", (API, "-k", "session_id_or_run_id")),
    Removal("alert targets are secret", "hud_web/settings.py", 'setting("HUD_ALERTS", None, str, secret=True)', 'setting("HUD_ALERTS", None, str)', ("tests/unit/alerts", "-k", "no_repr_shows")),
    Removal("no URL of a target in the log", "hud_web/alerts/target.py", "log.propagate = False", "log.propagate = True", (ALERTS, "-k", "no_secret_reaches")),
    Removal("alerts follow no redirect", "hud_web/alerts/target.py", "http_redirects=False", "http_redirects=True", (ALERTS, "-k", "redirect")),
    Removal("a run mentions nobody", "hud_web/alerts/message.py", "return _ACTIVE.sub(", "return shown or _ACTIVE.sub(", ("tests/unit/alerts", "-k", "mention_nobody")),
    Removal("Redis socket is ours alone", "hud_web/command/embedded.py", '"port": "0"', '"port": "16399"', ("tests/integration/test_up.py", "-k", "no_redis_set_up")),
]  # fmt: skip


def main(names: list[str]) -> int:
    """Apply the named removals, or all; return 0 if a test noticed each of them."""
    removals = [removal for removal in REMOVALS if not names or removal.name in names]
    unnoticed = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "hud"
        kept = shutil.ignore_patterns(".git", ".venv", ".make", "__pycache__", "dist", "node_modules")
        shutil.copytree(ROOT, copy, ignore=kept)
        for tests in sorted({removal.tests for removal in removals}):
            if run(copy, tests) != 0:
                print(f"expected these tests to pass before anything is removed: {' '.join(tests)}", file=sys.stderr)
                return 1
        for removal in removals:
            path = copy / removal.file
            before = path.read_text()
            if removal.old not in before:
                unnoticed.append(f"{removal.name}: {removal.file} has no {removal.old!r}")
                continue
            path.write_text(before.replace(removal.old, removal.new))
            is_noticed = run(copy, removal.tests) == 1
            path.write_text(before)
            print(f"{'noticed  ' if is_noticed else 'UNNOTICED'}  {removal.name}", flush=True)
            if not is_noticed:
                unnoticed.append(f"{removal.name}: no test of {' '.join(removal.tests)} failed")
    for line in unnoticed:
        print(f"expected a failing test: {line}", file=sys.stderr)
    print(f"{len(removals) - len(unnoticed)} of {len(removals)} removals were noticed")
    return 1 if unnoticed else 0


def run(copy: Path, tests: tuple[str, ...]) -> int:
    """Run these tests, importing everything from the copy. Returns pytest's exit code: 1 where a test failed."""
    environment = os.environ | {"PYTHONPATH": str(copy)}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "-p", "no:cacheprovider", *tests]
    return subprocess.run(command, cwd=copy, env=environment, capture_output=True, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
