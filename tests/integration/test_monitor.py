"""The monitor against a real Redis: every annotation exists once, also after faults and without viewers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import time
from typing import Any

import pytest
import redis

from hud_publisher import Publisher
from hud_publisher.protocol import scripts
from hud_publisher.protocol.batch import Batch
from hud_publisher.protocol.entries import Limits, MetricsEntry
from hud_publisher.protocol.keys import ChannelKeys
from hud_publisher.protocol.replies import parse_register
from hud_publisher.protocol.values import NOT_FINITE, NotFinite
from hud_publisher.sinks.redis_client import connect, execute
from hud_web.monitor.annotations import Annotation
from hud_web.monitor.monitor import Monitor
from hud_web.store.redis_client import connect_writer
from hud_web.store.store import Store
from tests.faults.viewer import Viewer
from tests.fixtures.annotations import judged_annotations, stored_annotations
from tests.fixtures.servers import Server, wait_until
from tests.fixtures.web import WebServer

KEYS = ChannelKeys("default")


def annotations_of(server: Server, sid: str) -> list[Annotation]:
    with redis.Redis(port=server.port, protocol=2) as client:
        return stored_annotations(client, KEYS.session(sid))


def test_a_run_is_annotated_though_nobody_watches(redis_server: Server) -> None:
    with contextlib.closing(WebServer(redis_server.url)) as web, Publisher(redis_url=redis_server.url) as hud:
        for step in range(50):
            hud.log({"policy_loss": 0.5, "episode_return": step}, step=step)
        hud.log({"policy_loss": float("nan")}, step=51)
        wait_until(lambda: hud.sid, "the session")
        sid = hud.sid or ""
        wait_until(lambda: "non_finite" in [one.kind for one in annotations_of(redis_server, sid)], "the annotation")
        [judged] = re.findall(r"^hud_monitor_lag_seconds_count (\S+)$", web.get("/metrics")[1].decode(), re.MULTILINE)
        assert float(judged) > 0
        hud.close()
        wait_until(lambda: annotations_of(redis_server, sid)[-1].kind == "session_ended", "the end of the session")
        told = web.get("/api/state")[1]["verdict"]
        [channel] = web.get("/api/channels")[1]["channels"]
    assert (told["level"], told["text"]) == ("ended", "Ended, NaN: policy_loss since step 51")
    assert told["clauses"][1]["fields"] == ["policy_loss"]
    assert channel["verdict"] == {"level": "ended", "text": told["text"]}
    found = annotations_of(redis_server, sid)
    assert found[0].kind == "session_started"
    assert sum(one.kind == "best_episode" for one in found) == 49
    [broken] = [one for one in found if one.kind == "non_finite"]
    assert (broken.step, broken.fields) == (51, ("policy_loss",))


def test_the_monitor_heals_after_a_killed_a_frozen_and_a_flushed_redis(redis_server: Server) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(contextlib.closing(WebServer(redis_server.url)))
        hud = stack.enter_context(Publisher(redis_url=redis_server.url))
        count = 0

        def log_until_annotated(more: int) -> str:
            """Log records until the monitor has annotated `more` new ones; return the SID of their session."""
            nonlocal count
            first = count + 1

            def has_more() -> bool:
                nonlocal count
                count += 1
                hud.log({"episode_return": count}, step=count)
                time.sleep(0.02)
                records = [one.step or 0 for one in annotations_of(redis_server, hud.sid or "")]
                return sum(step >= first for step in records) >= more

            wait_until(has_more, "the annotations")
            return hud.sid or ""

        def expect_each_once(sid: str) -> None:
            wait_until(lambda: annotations_of(redis_server, sid)[-1].step == count, "the last annotation")
            with redis.Redis(port=redis_server.port, protocol=2) as client:
                judged = judged_annotations(client, KEYS.session(sid))
            started, *found = [one for one in annotations_of(redis_server, sid) if one.kind not in ("stall", "resumed")]
            assert started.kind == "session_started"
            assert found == judged
            assert len(found) > 20

        before = log_until_annotated(20)
        redis_server.kill()
        redis_server.restart()
        assert log_until_annotated(20) == before
        redis_server.stop()
        time.sleep(10)  # longer than the TTL of a lease
        redis_server.cont()
        assert log_until_annotated(20) == before
        expect_each_once(before)
        with redis.Redis(port=redis_server.port) as client:
            client.flushall()
        after = log_until_annotated(20)
        assert after != before
        expect_each_once(after)


def _saved(judge: object, positions: object) -> dict[str, str]:
    return {"version": "3", "memory": json.dumps({"judge": judge, "positions": positions})}


@pytest.mark.parametrize(
    "stored",
    [
        _saved({}, {"metrics": "no id", "iterations": 5}),
        _saved({"role_paths": 5}, {}),
        _saved({"stall": {"windows": "x", "count": 9}, "collapse": {"count": []}, "phase": {"name": 5}}, {}),
        {"version": "-1", "memory": "{}"},
    ],
    ids=["positions", "paths", "detectors", "version"],
)
def test_a_memory_that_another_program_wrote_costs_no_run_its_annotations(
    stored: dict[str, str], redis_server: Server
) -> None:
    with contextlib.closing(WebServer(redis_server.url)) as web, redis.Redis(port=redis_server.port) as direct:
        runs = []
        for channel in ("foreign", "other"):
            run = web.post("/api/register_session", {"name": "run", "channel": channel})[1]
            runs.append((channel, run["session_id"]))
            if channel == "foreign":
                key = ChannelKeys(channel).session(str(run["fence"])).monitor
                direct.hset(key, mapping=stored)  # type: ignore[arg-type]
        for number in range(5):
            for _channel, session_id in runs:
                data = {"episode_return": number, "phase": "learning"}
                assert web.post("/api/update_training", {"session_id": session_id, "data": data})[0] == 200
        for _channel, session_id in runs:
            web.post("/api/release_session", {"session_id": session_id})
        for channel, _session_id in runs:
            path = f"/api/annotations?channel={channel}"
            wait_until(
                lambda path=path: "session_ended" in [one["kind"] for one in web.get(path)[1]["annotations"]],
                f"the end of the session of {channel}",
            )


def test_pages_that_reconnect_to_any_replica_get_each_annotation_once(redis_server: Server) -> None:
    with contextlib.ExitStack() as stack:
        webs = [stack.enter_context(contextlib.closing(WebServer(redis_server.url))) for _ in range(2)]
        hud = stack.enter_context(Publisher(redis_url=redis_server.url))
        viewer = Viewer([web.port for web in webs], random.Random(1), is_restless=True)
        stack.callback(viewer.close)
        for step in range(300):
            hud.log({"episode_return": step}, step=step)
            time.sleep(0.02)
        wait_until(lambda: len(annotations_of(redis_server, hud.sid or "")) == 300, "the annotations")
        last = annotations_of(redis_server, hud.sid or "")[-1].text
        texts: list[str] = []

        def has_last() -> bool:
            nonlocal texts
            texts = [event.data["text"] for event in viewer.seen() if event.name == "annotation"]
            return last in texts

        wait_until(has_last, "the page to have them")
        kept = webs[0].get("/api/annotations?limit=10")[1]["annotations"]
        roles = webs[0].get("/api/state")[1]["roles"]
        changes = [event.data["_hud"] for event in viewer.seen() if event.name == "training_update"]
    assert texts == list(dict.fromkeys(texts))
    assert texts[-10:] == [one["text"] for one in kept]
    assert roles == {"return": [{"path": "episode_return", "label": "Episode return (last episode)"}]}
    snapshots = [event.data for event in viewer.seen() if event.name == "snapshot"]
    assert roles in [*(change.get("roles") for change in changes), *(one["roles"] for one in snapshots)]


@pytest.mark.parametrize("way", ["redis", "http"])
def test_a_user_decides_which_field_is_the_return(way: str, redis_server: Server) -> None:
    with contextlib.closing(WebServer(redis_server.url)) as web:
        address = {"redis_url": redis_server.url} if way == "redis" else {"hud_url": web.url}
        with Publisher(roles={"return": "my/score"}, **address) as hud:
            for step in range(5):
                hud.log({"my": {"score": step}, "episode_return_mean": 1.0, "entropy": 0.5}, step=step)
            wait_until(lambda: len(web.get("/api/state")[1].get("roles", {})) == 2, "the roles")
        roles = web.get("/api/state")[1]["roles"]
    assert roles["return"] == [{"path": "my/score", "label": "Episode return · my/score"}]
    assert roles["entropy"] == [{"path": "entropy", "label": "Entropy"}]


def entries_of_a_rough_run(luck: random.Random, count: int) -> list[MetricsEntry]:
    entries = []
    for step in range(count):
        data: dict[str, Any] = {"episode_return": luck.gauss(step / 10, 5), "flags": {"door": luck.random() < 0.5}}
        broken: dict[str, NotFinite] = {"loss": luck.choice(NOT_FINITE)} if luck.random() < 0.05 else {}
        if not broken:
            data["loss"] = luck.random()
        entries.append(MetricsEntry(data, 1, step, "metrics", broken))
    return entries


async def test_fifty_cancelled_monitors_leave_each_annotation_once_and_in_order(redis_server: Server) -> None:
    luck = random.Random(4)
    writer = connect(redis_server.url)
    session = parse_register(execute(writer, scripts.register("default", run_id="r", name="r", limits=Limits())))
    execute(writer, scripts.touch("default", Limits()))
    entries = entries_of_a_rough_run(luck, 2_000)
    number = 0

    def write_some() -> None:
        nonlocal number
        for _ in range(luck.randint(0, 6)):
            batch = Batch("w", number + 1, tuple(entries[number * 5 : number * 5 + 5]))
            if batch.entries:
                execute(writer, scripts.publish(session.session_id, batch, Limits()))
                number += 1

    async def live(monitor: Monitor) -> None:
        for turn in range(20):
            write_some()
            await monitor.turn(float(turn * 5))

    for _ in range(50):
        store = Store(connect_writer(redis_server.url))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(luck.uniform(0.002, 0.06)):
                await live(Monitor(store))
        await store.aclose()
        writer.delete(KEYS.monitor)  # as after the TTL of its lease
    while number * 5 < len(entries):
        write_some()
    await asyncio.sleep(0.2)
    writer.delete(KEYS.monitor)  # a cancelled monitor's last command may have come after the deletion
    store = Store(connect_writer(redis_server.url))
    last = Monitor(store)
    for turn in range(30):
        await last.turn(float(turn * 20))
    await store.aclose()
    first, *found = [one for one in annotations_of(redis_server, session.sid) if one.kind not in ("stall", "resumed")]
    assert first.kind == "session_started"
    with redis.Redis(port=redis_server.port, protocol=2) as client:
        assert found == judged_annotations(client, KEYS.session(session.sid))
    assert len(found) > 100
    saved: Any = writer.execute_command("HGET", KEYS.session(session.sid).monitor, "version")
    assert int(saved) > 20  # many of the cancelled monitors had saved before
    writer.close()


async def test_two_monitors_share_one_channel_and_annotate_it_once(redis_server: Server) -> None:
    writer = connect(redis_server.url)
    session = parse_register(execute(writer, scripts.register("default", run_id="r", name="r", limits=Limits())))
    execute(writer, scripts.touch("default", Limits()))
    stores = [Store(connect_writer(redis_server.url)) for _ in range(2)]
    monitors = [Monitor(store) for store in stores]
    for number in range(1, 20):
        batch = Batch("w", number, (MetricsEntry({"episode_return": number}, 1, number),))
        execute(writer, scripts.publish(session.session_id, batch, Limits()))
        await asyncio.gather(*(monitor.turn(float(number * 3)) for monitor in monitors))
    for store in stores:
        await store.aclose()
    writer.close()
    texts = [one.text for one in annotations_of(redis_server, session.sid) if one.kind == "best_episode"]
    assert texts == [f"Best episode: return {number}" for number in range(2, 20)]
