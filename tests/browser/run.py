"""A training run as the server receives it: the test sends a publisher's entries, so it knows every value."""

from __future__ import annotations

import base64
import io
import time
from typing import Any

from PIL import Image

from hud_publisher.protocol.batch import Batch
from hud_publisher.protocol.batch_body import MEDIA_TYPE, encode_batch
from hud_publisher.protocol.cleaning import clean_metrics
from hud_publisher.protocol.entries import Entry, FrameEntry, MetricsEntry, MindEntry, VisionEntry
from hud_publisher.protocol.keys import SessionId
from hud_publisher.protocol.values import NotFinite
from tests.fixtures.web import WebServer, poll

Color = tuple[int, int, int]


def png(color: Color, size: tuple[int, int] = (16, 12)) -> bytes:
    """A picture of one colour, which a test can find on a canvas."""
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "PNG")
    return buffer.getvalue()


def color_of(number: int) -> Color:
    """A colour that identifies a frame."""
    return (number * 37 % 256, number * 91 % 256, 40 + number % 200)


class Run:
    """Holds a channel and publishes to it."""

    def __init__(
        self,
        server: WebServer,
        channel: str,
        name: str = "ppo-breakout",
        *,
        token: str = "",
        takeover: bool = False,
        **body: Any,
    ) -> None:
        self.server, self.channel, self.name = server, channel, name
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}
        body |= {"channel": channel, "name": name, "run_id": f"{channel}-{name}"}
        self.answer = self._register(body | ({"takeover": True} if takeover else {}))
        self.session_id = SessionId(self.answer["session_id"])
        self.sid = self.session_id.split(".")[1]
        self.number = self.step = 0

    def _register(self, body: dict[str, Any]) -> dict[str, Any]:
        status, answer = self.server.post("/api/register_session", body, self.headers)
        assert status == 200, answer
        return dict(answer)

    def publish(self, *entries: Entry, writer: str = "w1") -> None:
        """Send one batch."""
        self.number += 1
        body = encode_batch(self.session_id, Batch(writer, self.number, entries))
        status, answer = self.server.post("/api/publish", body, {"Content-Type": MEDIA_TYPE} | self.headers)
        assert status == 200, answer

    def log(self, data: dict[str, Any], *, step: int | None = None, kind: Any = "metrics") -> None:
        """Publish fields; non-finite values are named and left out, as a publisher does."""
        self.step = self.step + 1 if step is None else step
        not_finite: dict[str, NotFinite] = {}
        cleaned = clean_metrics(data, not_finite=not_finite, histograms=True)
        self.publish(MetricsEntry(cleaned, now_ms(), self.step, kind, not_finite))

    def iterate(self, iteration: int, **data: Any) -> None:
        """Publish the results of one training iteration."""
        self.log({"iteration": iteration, **data}, step=iteration * 100, kind="iterations")

    def frame(
        self,
        color: Color,
        *,
        step: int | None = None,
        episode: int | None = None,
        env: tuple[int, int] = (1, 0),
        size: tuple[int, int] = (16, 12),
        kind: Any = "frames",
    ) -> None:
        """Publish a frame of one colour (or a thumbnail)."""
        picture = png(color, size)
        self.publish(FrameEntry(picture, now_ms(), "image/png", step, episode, env, kind))

    def vision(self, image: bytes, *, step: int = 1, latency_ms: float = 412.0, **parts: Any) -> None:
        """Publish a call of the vision LLM."""
        prompt, response = parts.pop("prompt", None), parts.pop("response", None)
        self.publish(VisionEntry(image, now_ms(), "image/png", latency_ms, step, prompt, response, parts))

    def mind(
        self,
        data: dict[str, Any],
        *,
        step: int | None = None,
        episode: int | None = None,
        env: tuple[int, int] = (1, 0),
        image: bytes | None = None,
    ) -> None:
        """Publish the policy's view of a step."""
        self.publish(MindEntry(data, now_ms(), step, episode, env, image))

    def play(self, episodes: int, frames: int = 6, *, first: int = 1, pause_s: float = 0.03) -> list[Color]:
        """Play whole episodes; episode n returns 10 n. Returns the colours in order."""
        colors = []
        for episode in range(first, first + episodes):
            for number in range(frames):
                self.step += 1
                color = color_of(self.step)
                colors.append(color)
                reward = 10.0 * episode * (number + 1) / frames
                self.publish(
                    MetricsEntry({"episode": episode, "episode_reward": reward}, now_ms(), self.step),
                    FrameEntry(png(color), now_ms(), "image/png", self.step, episode, (1, 0)),
                )
                time.sleep(pause_s)  # gives each frame a distinct time
            self.log({"episode": episode, "episode_return": 10.0 * episode}, step=self.step)
        return colors

    def end(self) -> None:
        """Release the channel."""
        status, _ = self.server.post("/api/release_session", {"session_id": self.session_id}, self.headers)
        assert status == 200

    def wait_for_viewers(self, count: int) -> None:
        """Return when the server counts this number of viewers."""
        poll(
            lambda: self.server.post("/api/heartbeat", {"session_id": self.session_id})[1]["viewers"] == count,
            f"{count} viewers",
        )


class OldClient:
    """The client of the Flask HUD: JSON with fields as they are, no name, no step beside them, base64."""

    def __init__(self, server: WebServer, channel: str) -> None:
        self.server = server
        self.session_id = server.post("/api/register_session", {"channel": channel})[1]["session_id"]

    def update(self, data: dict[str, Any]) -> None:
        """Send fields; a NaN is sent as Python's JSON writes it."""
        self._post("/api/update_training", {"data": data})

    def vision(self, image: bytes, **parts: Any) -> None:
        """Send a picture."""
        self._post("/api/update_vision", {"image_base64": base64.b64encode(image).decode("ascii"), **parts})

    def _post(self, path: str, body: dict[str, Any]) -> None:
        status, answer = self.server.post(path, {"session_id": self.session_id} | body)
        assert status == 200, answer


def now_ms() -> int:
    return time.time_ns() // 1_000_000
