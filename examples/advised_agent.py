"""An agent that asks a vision LLM for advice: it regularly sends the screen and follows the answer.

    make wheel && pip install 'dist/rl_hud-0.1.0-py3-none-any.whl[web,embedded]' openai gymnasium pyboy
    hud up                                             # the page; leave it running
    export HUD_URL=http://localhost:8086               # in another terminal
    python examples/advised_agent.py --llm-url http://localhost:8000/v1 --model MODEL [--rom FILE]

Any OpenAI-compatible server works (vLLM, Ollama, llama.cpp …); the key comes from OPENAI_API_KEY. The page shows the
picture that the model was given, the prompt, its answer and how long it took. In between the agent continues in the
advised direction, and takes some steps without advice.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import random
import re
from pathlib import Path
from typing import Any

from game_boy import BUTTONS, GameBoy
from openai import OpenAI
from PIL import Image

from hud_publisher import HudWrapper, Publisher, watch_openai

PROMPT = (
    "This is the screen of a Game Boy. Move the face to the diamond. Answer with one word: RIGHT, LEFT, UP or DOWN."
)
#: The share of steps on which the agent ignores the advice.
EXPLORATION = 0.2


class Advisor:
    """Asks the model and counts the usable answers."""

    def __init__(self, client: OpenAI, model: str) -> None:
        self._client = client
        self._model = model
        self.calls = 0
        self.understood = 0

    def ask(self, pixels: Any) -> str:
        """Return the button that the model names, "" where it names none or fails."""
        self.calls += 1
        picture = io.BytesIO()
        Image.fromarray(pixels).resize((320, 288), Image.Resampling.NEAREST).save(picture, "PNG")
        url = f"data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()}"
        content = [{"type": "text", "text": PROMPT}, {"type": "image_url", "image_url": {"url": url}}]
        try:
            answer = self._client.chat.completions.create(
                model=self._model,
                messages=[{"role": "user", "content": content}],  # type: ignore[list-item,misc]
                max_tokens=8,
            )
        except Exception as error:  # without advice the agent plays on alone
            print(f"no advice: {error}", flush=True)
            return ""
        said = re.findall("[a-z]+", (answer.choices[0].message.content or "").lower())
        button = next((word for word in said if word in BUTTONS), "")
        self.understood += bool(button)
        return button


def main(arguments: list[str] | None = None) -> None:
    """Play."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llm-url", required=True, help="base URL of an OpenAI-compatible server, such as …/v1")
    parser.add_argument("--model", default="vision")
    parser.add_argument("--rom", type=Path, help="your cartridge (default: a small game made here)")
    parser.add_argument("--steps", type=int, default=5_000)
    parser.add_argument("--ask-every", type=int, default=30, help="steps between two questions")
    options = parser.parse_args(arguments)
    with Publisher(name="an advised agent", info={"env": "GameBoy", "algorithm": options.model}) as hud:
        env = HudWrapper(GameBoy({"rom": options.rom.read_bytes() if options.rom else None}), hud, info_keys=("score",))
        # A slow or broken server must not hold the game up for longer than a few seconds.
        client = OpenAI(
            base_url=options.llm_url, api_key=os.environ.get("OPENAI_API_KEY", "none"), timeout=10, max_retries=0
        )
        step = 0
        advisor = Advisor(watch_openai(client, hud, step=lambda: step), options.model)
        advised, followed = "", 0
        env.reset(seed=1)
        for step in range(options.steps):
            if step % options.ask_every == 0:
                advised = advisor.ask(env.unwrapped.render())
                rate = advisor.understood / advisor.calls
                hud.log({"llm_suggestion": advised.upper(), "llm_calls": advisor.calls, "llm_success_rate": rate}, step)
            follows = bool(advised) and random.random() > EXPLORATION
            followed += follows
            action = BUTTONS.index(advised) if follows else random.randrange(len(BUTTONS))
            _, _, terminated, truncated, _ = env.step(action)
            if step % options.ask_every == 0:
                hud.log({"llm_alignment": followed / (step + 1)}, step)
            if terminated or truncated:
                env.reset()
        env.close()


if __name__ == "__main__":
    main()
