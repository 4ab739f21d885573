"""The path of a run through the whole server, short enough for every supported Python (tests/pythons.py)."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from hud_publisher import Publisher
from tests.fixtures.openapi import document
from tests.fixtures.servers import Server
from tests.fixtures.web import SseClient, WebServer, poll

#: Enough for the charts' history to be downsampled into pieces and read back from them.
ENTRIES = 7_000


def test_a_run_is_shown_and_every_endpoint_that_reads_answers_afterwards(
    redis_server: Server, serve: Callable[..., WebServer], watch: Callable[..., SseClient]
) -> None:
    web = serve()
    page = watch(web)
    picture = Image.new("RGB", (16, 12), (200, 30, 60))
    with Publisher(redis_url=redis_server.url, name="smoke", frames="always") as hud:
        hud.log({"seed": 42, "reward": 0.5, "text": "left"}, step=0)
        for step in range(1, ENTRIES):
            hud.log({"reward": step / 2, "lives": step % 5}, step=step)
            if step % 500 == 0:  # the outbox is bounded
                poll(lambda: not hud.stats.pending.get("metrics"), "the entries to be sent")
        hud.log_iteration({"loss": 1}, step=ENTRIES)
        poll(lambda: hud.wants_mind(), "a view of the policy to be wanted")
        hud.frame(picture, step=ENTRIES, mind={"observation": picture, "value": 1.5})
        hud.vision(picture, step=ENTRIES, prompt="where to?", response="left", response_time_ms=200)
        page.wait(lambda seen: any("loss" in data for data in seen.named("training_update")), "the iteration")
        page.wait(lambda seen: len(seen.named("vision_update")) >= 2 and seen.named("mind"), "the pictures")

        # The first replica has read the entries live; another one reads them back from storage.
        for replica in (web, serve()):
            frame = replica.get("/api/frames")[1]["frames"][-1]
            call = replica.get("/api/vision")[1]["calls"][-1]
            mind = replica.get("/api/mind")[1]["mind"][-1]
            ids = {"/api/frames/{id}": frame["id"], "/api/vision/{id}": call["id"], "/api/mind/{id}": mind["id"]}
            for path, methods in document()["paths"].items():
                if "get" not in methods or path.startswith("/stream"):
                    continue
                status, body = replica.get(path.replace("{id}", ids.get(path, "")))
                assert (status, body is None) == (200, False), (path, body)
            assert {"seed", "reward", "lives"} <= replica.get("/api/history?points=100")[1]["series"].keys()


def test_hud_up_starts_answers_the_doctor_and_ends(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HUD_", "REDIS_"))}
    environment["XDG_RUNTIME_DIR"] = str(tmp_path)
    up = subprocess.Popen(
        [sys.executable, "-m", "hud_web", "up", "--port", "0"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert up.stdout is not None
        found = re.search(r"http://localhost:\d+", up.stdout.readline())
        assert found
        for command in (("status",), ("sessions",), ("doctor", "--listen", "0.5", "--json")):
            done = subprocess.run(
                [sys.executable, "-m", "hud_web", *command, "--url", found[0]],
                env=environment,
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert "Traceback" not in done.stderr
            assert done.stdout, done.stderr
        up.send_signal(signal.SIGTERM)
        assert up.wait(30) == 0
    finally:
        up.kill()
        up.communicate()
