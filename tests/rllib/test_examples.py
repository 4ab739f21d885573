"""The Game Boy examples: the cartridge made on the spot, the agent that learns it, the agent that asks a vision LLM."""

from __future__ import annotations

import base64
import io
import json
import sys
import threading
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.rllib.conftest import ROOT, Display

sys.path.insert(0, str(ROOT / "examples"))

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # PyBoy's SDL says which library it found
    import advised_agent
    import game_boy
    import game_boy_rom


@pytest.fixture
def console() -> Iterator[Any]:
    from pyboy import PyBoy

    boy = PyBoy(io.BytesIO(game_boy_rom.make_rom()), window="null", sound_emulated=False, log_level="ERROR")
    boy.set_emulation_speed(0)
    boy.tick(120)
    yield boy
    boy.stop(save=False)


def where(console: Any) -> list[int]:
    return [console.memory[at] for at in range(game_boy_rom.PLAYER_X, game_boy_rom.DIAMOND_Y + 1)]


def hold(console: Any, button: str, frames: int) -> None:
    console.button_press(button)
    console.tick(frames)
    console.button_release(button)
    console.tick(1)


@pytest.mark.parametrize(
    ("button", "moves_to"), [("right", (160, 88)), ("left", (8, 88)), ("up", (80, 16)), ("down", (80, 152))]
)
def test_the_face_goes_where_the_pad_says_and_stops_at_the_edge(
    console: Any, button: str, moves_to: tuple[int, int]
) -> None:
    before = console.screen.ndarray.copy()
    hold(console, button, 120)
    assert tuple(where(console)[:2]) == moves_to
    assert (console.screen.ndarray != before).any()


def test_each_diamond_caught_counts_and_puts_the_next_one_elsewhere(console: Any) -> None:
    places = set()
    for caught in range(5):
        assert console.memory[game_boy_rom.SCORE] == caught
        for _ in range(200):
            x, y, diamond_x, diamond_y = where(console)
            places.add((diamond_x, diamond_y))
            sideways = "right" if x < diamond_x - 2 else "left" if x > diamond_x + 2 else ""
            hold(console, sideways or ("down" if y < diamond_y else "up"), 2)
            if console.memory[game_boy_rom.SCORE] > caught:
                break
    assert console.memory[game_boy_rom.SCORE] == 5
    assert len(places) >= 5


def test_the_environment_keeps_gymnasiums_rules_and_pays_for_diamonds() -> None:
    from gymnasium.utils.env_checker import check_env

    env = game_boy.GameBoy()
    check_env(env, skip_render_check=True)
    env.reset(seed=3)
    console, total = env._console, 0.0
    for _ in range(300):
        x, y, diamond_x, diamond_y = where(console)
        sideways = "right" if x < diamond_x - 4 else "left" if x > diamond_x + 4 else ""
        action = game_boy.BUTTONS.index(sideways or ("down" if y < diamond_y else "up"))
        _, reward, _, truncated, info = env.step(action)
        total += reward
        assert not truncated
    assert total == info["score"] > 3
    env.close()


def test_a_cartridge_without_a_score_pays_for_screens_never_seen_before() -> None:
    env = game_boy.GameBoy({"rom": game_boy_rom.make_rom()})
    env.reset(seed=3)
    rewards = [env.step(0)[1] for _ in range(3)]
    assert rewards == [1.0, 0.0, 0.0]
    assert env.step(game_boy.BUTTONS.index("right"))[1] == 1.0
    env.close()


@pytest.mark.usefixtures("cluster")
def test_an_agent_learns_the_cartridge_of_the_user_on_the_hud(
    display: Display, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cartridge = tmp_path / "mine.gb"
    cartridge.write_bytes(game_boy_rom.make_rom())
    monkeypatch.setenv("REDIS_URL", display.hud.redis.url)
    monkeypatch.setenv("HUD_CHANNEL", display.channel)
    game_boy.main(["--rom", str(cartridge), "--score", "0xC000", "--iterations", "8", "--env-runners", "0"])
    display.wait_for_end()
    assert len({frame["image"] for frame in display.frames()}) > 1
    steps = display.updates("action_name", "score", "pressed")
    assert all(step["action_name"] == (step["pressed"] or "NOTHING") for step in steps)
    pressed = {step["action_name"] for step in steps}
    assert len(pressed & {"UP", "DOWN", "LEFT", "RIGHT"}) > 1, len(steps)
    assert display.updates("iteration", stream="iterations")


class StandIn(BaseHTTPRequestHandler):
    """An OpenAI-compatible server that looks at the picture: where the diamond is, seen from the face."""

    pictures: list[bytes]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text, picture = body["messages"][0]["content"]
        assert "diamond" in text["text"]
        self.pictures.append(base64.b64decode(picture["image_url"]["url"].partition(",")[2]))
        message = {"role": "assistant", "content": "Go RIGHT."}
        answer = {
            "id": "1", "object": "chat.completion", "created": 1, "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 300, "completion_tokens": 3, "total_tokens": 303},
        }  # fmt: skip
        data = json.dumps(answer).encode()
        self.send_response(200 if self.path == "/v1/chat/completions" else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def stand_in() -> Iterator[tuple[str, list[bytes]]]:
    """The server's base URL, and the pictures that it was shown."""
    StandIn.pictures = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), StandIn)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1", StandIn.pictures
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_advised_agent_shows_the_very_picture_that_its_model_saw_with_the_answer(
    display: Display, monkeypatch: pytest.MonkeyPatch, stand_in: tuple[str, list[bytes]]
) -> None:
    url, pictures = stand_in
    monkeypatch.setenv("REDIS_URL", display.hud.redis.url)
    monkeypatch.setenv("HUD_CHANNEL", display.channel)
    advised_agent.main(["--llm-url", url, "--model", "stand-in", "--steps", "200", "--ask-every", "50"])
    display.wait_for_end()
    calls = [data for data in display.stream.named("vision_update") if data["source"] == "vlm"]
    assert [base64.b64decode(call["image"]) for call in calls] == pictures
    assert len(calls) == 4
    assert calls[0]["mime"] == "image/png"
    assert calls[0]["prompt"] == advised_agent.PROMPT
    assert {call["response"] for call in calls} == {"Go RIGHT."}
    assert [call["step"] for call in calls] == [0, 50, 100, 150]
    assert all(call["response_time"] > 0 for call in calls)
    assert (calls[0]["extra"]["model"], calls[0]["extra"]["completion_tokens"]) == ("stand-in", 3)
    advice = display.updates("llm_suggestion")[-1]
    assert (advice["llm_suggestion"], advice["llm_calls"], advice["llm_success_rate"]) == ("RIGHT", 4, 1.0)
    assert display.frames()


def test_an_agent_whose_model_is_away_plays_on_alone(
    display: Display, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REDIS_URL", display.hud.redis.url)
    monkeypatch.setenv("HUD_CHANNEL", display.channel)
    advised_agent.main(["--llm-url", "http://127.0.0.1:9/v1", "--steps", "60", "--ask-every", "30"])
    assert capsys.readouterr().out.count("no advice: ") == 2
    display.wait_for_end()
    assert display.updates("llm_calls")[-1]["llm_success_rate"] == 0.0
