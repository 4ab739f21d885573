"""NaN, Infinity and -Infinity from a publisher to every answer of the server, during the run and after its end."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest

from hud_publisher import Publisher
from tests.fixtures.web import SseClient, WebServer, poll

VALUES = {"episode_return_mean": "NaN", "learner/kl": "Infinity", "policy_loss": "-Infinity"}
#: A field whose name has a comma; it was a number before.
COMMA = "loss, smoothed"


@dataclass(frozen=True)
class Shown:
    """A run that logged VALUES and never a number of these fields, read while it was live or after its end."""

    web: WebServer
    channel: str
    sid: str
    updates: list[Any]

    def get(self, path: str, query: str = "") -> Any:
        return self.web.get(f"{path}?channel={self.channel}&session={self.sid}&{query}")[1]

    def kinds(self) -> list[str]:
        return [one["kind"] for one in self.get("/api/annotations")["annotations"]]


@pytest.fixture(scope="module", params=["live-redis", "past-http"])
def shown(request: pytest.FixtureRequest, standing_web: WebServer) -> Iterator[Shown]:
    web, channel = standing_web, str(request.param)
    address = {"redis_url": web.redis_url} if "redis" in channel else {"hud_url": web.url}
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(contextlib.closing(SseClient(f"{web.url}/stream?channel={channel}")))
        hud = stack.enter_context(Publisher(channel=channel, **address))
        hud.log({COMMA: 1.5}, step=1)
        hud.log_iteration({"learner/kl": math.inf, "episode_return_mean": math.nan}, step=2)
        hud.log({"policy_loss": -math.inf, COMMA: math.nan}, step=3)
        hud.log({COMMA: 2.5}, step=4)
        poll(lambda: len(client.named("training_update")) == 4, "the updates")
        found = Shown(web, channel, hud.sid or "", client.named("training_update"))
        poll(lambda: "finite_again" in found.kinds(), "the last annotation")
        if "past" in channel:
            hud.close()
            poll(lambda: "session_ended" in found.kinds(), "the end of the session")
        yield found


def test_updates_tell_them_apart_and_keep_the_list_of_paths(shown: Shown) -> None:
    found = [(one["_hud"]["step"], one["_hud"].get("not_finite"), one["_hud"].get("infinite")) for one in shown.updates]
    assert sorted(found) == [
        (1, None, None),
        (2, ["learner/kl", "episode_return_mean"], {"learner/kl": "Infinity"}),
        (3, ["policy_loss", COMMA], {"policy_loss": "-Infinity"}),
        (4, None, None),
    ]


def test_the_state_says_which_fields_are_not_finite_since_when_and_in_which_roles(shown: Shown) -> None:
    state = shown.get("/api/state")
    assert state["state"] == {COMMA: 2.5}
    broken = state["not_finite"]
    assert {path: (since["value"], since["step"]) for path, since in broken.items()} == {
        "episode_return_mean": ("NaN", 2), "learner/kl": ("Infinity", 2), "policy_loss": ("-Infinity", 3),
    }  # fmt: skip
    times = {one["_hud"]["step"]: int(one["_hud"]["id"].split("-")[0]) for one in shown.updates}
    assert [since["time_ms"] for since in broken.values()] == [times[since["step"]] for since in broken.values()]
    assert [field["path"] for field in state["roles"]["return"]] == ["episode_return_mean"]
    assert [field["path"] for field in state["roles"]["policy_loss"]] == ["policy_loss"]


def test_the_history_has_each_change_and_the_roles(shown: Shown) -> None:
    answer = shown.get("/api/history", f"field=policy_loss&field={quote(COMMA)}")
    assert answer["fields"] == sorted([*VALUES, COMMA])
    assert [field["path"] for field in answer["roles"]["return"]] == ["episode_return_mean"]
    assert answer["series"]["policy_loss"]["value"] == []
    assert answer["series"][COMMA]["value"] == [1.5, 2.5]
    turns = answer["not_finite"]
    assert (turns["policy_loss"]["value"], turns["policy_loss"]["step"]) == (["-Infinity"], [3])
    assert (turns[COMMA]["value"], turns[COMMA]["step"]) == (["NaN", None], [3, 4])


def test_exports_have_them_with_roles_and_annotations(shown: Shown) -> None:
    table = shown.get("/api/export").decode()
    rows = list(csv.DictReader(io.StringIO(table)))
    by_field = {row["field"]: row for row in rows if row["field"] in VALUES}
    assert {field: row["value"] for field, row in by_field.items()} == VALUES
    assert [float(by_field[field]["value"]) for field in ("learner/kl", "policy_loss")] == [math.inf, -math.inf]
    assert {row["role"]: row["field"] for row in rows if row["role"]} == {
        "return": "episode_return_mean", "policy_loss": "policy_loss",
    }  # fmt: skip
    head, *items = shown.get("/api/export", "format=json")
    assert head["stream"] == "session"
    assert head["data"]["sid"] == shown.sid
    assert head["data"]["roles"]["return"][0]["path"] == "episode_return_mean"
    found: dict[str, str] = {}
    for item in items:
        found |= item.get("not_finite", {})
    assert found == VALUES | {COMMA: "NaN"}
    annotations = [item["data"] for item in items if item["stream"] == "annotations"]
    assert annotations == [
        {name: value for name, value in one.items() if name not in ("id", "time_ms", "step")}
        for one in shown.get("/api/annotations")["annotations"]
    ]
    told = [(row["field"], row["value"]) for row in rows if row["stream"] == "annotations"]
    assert told == [(one["kind"], one["text"]) for one in annotations]
    assert ("non_finite", "learner/kl is Infinity") in told


def test_the_command_says_them_too(shown: Shown) -> None:
    def run(*arguments: str) -> str:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("HUD_", "REDIS_"))}
        command = [sys.executable, "-m", "hud_web", *arguments, "--url", shown.web.url, "--channel", shown.channel]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60).stdout

    status = run("status")
    assert "Episode return (mean): NaN since 20" in status
    assert "Policy loss: -Infinity since 20" in status
    assert ", step 3\n" in status
    told = json.loads(run("status", "--json"))
    assert told["figures"] == {"Episode return (mean)": "NaN", "Policy loss": "-Infinity"}
    assert told["roles"]["policy_loss"][0]["path"] == "policy_loss"
    assert "iterations" in run("export")


@pytest.mark.parametrize("way", ["redis", "http"])
def test_a_hundred_layers_that_diverge_together_are_one_annotation(standing_web: WebServer, way: str) -> None:
    web, channel = standing_web, f"diverged-{way}"
    address = {"redis_url": web.redis_url} if way == "redis" else {"hud_url": web.url}
    layers = {f"layer{n}": {"norm": math.nan} for n in range(100)}
    with Publisher(channel=channel, **address) as hud:
        hud.log_iteration({name: {"norm": 1.0} for name in layers}, step=1)
        for step in (2, 3):
            hud.log_iteration(layers, step=step)
        poll(lambda: _state(web, channel).get("not_finite"), "the state")
        broken = _state(web, channel)["not_finite"]
        hud.log_iteration({name: {"norm": 2.0} for name in layers}, step=4)
        poll(lambda: len(_turns(web, channel)) == 2, "the last annotation")
    paths = [f"{name}/norm" for name in layers]
    assert broken.keys() == set(paths)
    first, last = _turns(web, channel)
    assert first["text"] == "NaN in 100 fields: layer0/norm, layer1/norm, layer2/norm … and 97 more"
    assert (first["fields"], first["step"], first["value"]) == (paths, 2, "NaN")
    assert last["text"].startswith("100 fields are numbers again after ")
    assert last["text"].endswith(": layer0/norm, layer1/norm, layer2/norm … and 97 more")
    assert (last["fields"], last["step"]) == (paths, 4)


def _state(web: WebServer, channel: str) -> dict[str, Any]:
    found: dict[str, Any] = web.get(f"/api/state?channel={channel}")[1]
    return found


def _turns(web: WebServer, channel: str) -> list[Any]:
    found = web.get(f"/api/annotations?channel={channel}")[1].get("annotations", [])
    return [one for one in found if one["kind"] in ("non_finite", "finite_again")]
