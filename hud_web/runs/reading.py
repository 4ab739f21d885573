"""Reads runs from Redis, many at once: their description, their state, their configuration.

Every command is on keys of one channel, so it runs on Redis Cluster. A value that HUD did not write counts as absent.
Called by the catalogue and the overview.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from hud_publisher.protocol import scripts
from hud_publisher.protocol.keys import CHANNELS, ChannelKeys, Sid, is_channel, is_sid
from hud_publisher.protocol.replies import text
from hud_publisher.protocol.roles import Role
from hud_publisher.protocol.stored import read_int, read_value
from hud_publisher.protocol.values import PATH_SEPARATOR
from hud_web.runs.columns import Pool, scalars
from hud_web.runs.run import Key, Labels, RoleField, Run
from hud_web.store.roles import RoleMap, Roles
from hud_web.store.slices import Slices
from hud_web.store.sse import order, time_ms_of
from hud_web.store.store import Store, session_commands
from hud_web.store.views import read_mapping, view_of

#: Sessions in one round trip: their states or configurations may have some MB.
GROUP = 50
#: Bounds of the labels, which the endpoint checks; more was not written by HUD.
MAX_TAGS, MAX_TAG_CHARS, MAX_NOTE_CHARS = 20, 64, 4_000
_NUMBER = re.compile(rb"-?[0-9]{1,17}(?:\.[0-9]{1,20})?(?:[eE][+-]?[0-9]{1,3})?")


async def channels_since(store: Store, least_ms: int, most: int) -> dict[str, int]:
    """Return the channels with activity since a time, newest first, with the time of their last activity in ms."""
    (found,) = await store.pipelined([
        ("ZRANGE", CHANNELS, "+inf", least_ms, "BYSCORE", "REV", "LIMIT", 0, most, "WITHSCORES")
    ])  # fmt: skip
    flat = found or []
    pairs = zip(flat[::2], flat[1::2], strict=True)
    return {text(name): _whole(score) for name, score in pairs if is_channel(text(name))}


async def sids_of(store: Store, channels: Sequence[str], most: int) -> list[list[Sid]]:
    """Return the newest sessions of each channel, newest first."""
    found = await store.pipelined([("ZRANGE", ChannelKeys(name).sessions, 0, most - 1, "REV") for name in channels])
    return [[Sid(sid) for sid in map(text, named or []) if is_sid(sid)] for named in found]


async def runs_of(store: Store, keys: Sequence[Key]) -> list[Run | None]:
    """Return runs without state and configuration; None for a session that does not exist (any more)."""
    commands: list[tuple[Any, ...]] = []
    for channel, sid in keys:
        commands += session_commands(ChannelKeys(channel), sid)
    found = await store.pipelined(commands)
    slices, runs = Slices(store.turns), list[Run | None]()
    for at, (channel, sid) in enumerate(keys):
        info, lock, ttl_ms, judged = found[4 * at : 4 * at + 4]
        runs.append(_run(channel, sid, _mapping(info), lock, ttl_ms, judged))
        await slices.rest()
    return runs


def _run(channel: str, sid: Sid, info: dict[bytes, bytes], lock: Any, ttl_ms: Any, judged: Any) -> Run | None:
    view = view_of(channel, sid, info, lock, ttl_ms, judged)
    if not info and view.status != "live":
        return None
    labels = (info.get(name) for name in (b"tags", b"note", b"pinned", b"labelled"))
    return Run(replace(view, ttl_ms=None, rhythm=None), labels_of(*labels))


def labels_of(tags: bytes | None, note: bytes | None, pinned: bytes | None, changed: bytes | None) -> Labels:
    """Return labels as label.lua stores them."""
    found = read_value(tags) if tags else None
    names = [name[:MAX_TAG_CHARS] for name in found if isinstance(name, str)] if isinstance(found, list) else []
    return Labels(tuple(names[:MAX_TAGS]), text(note or b"")[:MAX_NOTE_CHARS], pinned == b"1", text(changed or b""))


async def read_states(store: Store, runs: Sequence[Run], pool: Pool | None = None) -> list[int]:
    """Read the states of runs: roles, newest entry and, with a pool, the results. Returns the number of fields of each.

    Args:
        store: to read from.
        runs: that are filled in.
        pool: of the cells; without it, no results are kept.
    """
    counts: list[int] = []
    async for run, stored in _hashes(store, runs, "state"):
        numbers: list[tuple[str, float | int]] = []
        names: dict[str, bytes] = {}
        roles, last_ms = RoleMap(run.session.chosen_roles), 0
        others: list[tuple[str, Any]] = []
        for name, value in stored.items():
            path = name.decode("utf-8", "replace").replace(PATH_SEPARATOR, "/")
            names[path] = name
            at_ms, number = _number(value)
            last_ms = max(last_ms, at_ms)
            if number is not None:
                roles.add(path)
                numbers.append((path, number))
            elif pool is not None:
                others.append((path, read_value(value.partition(b" ")[2])))
        for path in run.session.not_finite:
            roles.add(path)
        _take_roles(run, roles.roles, dict(numbers), names)
        run.last_ms = max(run.last_ms or 0, last_ms) or None
        if pool is not None:
            run.results = pool.cells([*numbers, *scalars({path: value for path, value in others if value is not None})])
        counts.append(len(stored))
    await _read_steps(store, [run for run in runs if not run.env_steps.path])
    return counts


async def _read_steps(store: Store, runs: Sequence[Run]) -> None:
    """Read the steps of the newest entries, for runs without a field that has the number of env steps."""
    calls = [
        scripts.glance(*run.key, verdict="", labels=run.labels.changed, frame="-", most_frame_bytes=0, fields=())
        for run in runs
    ]
    for run, reply in zip(runs, await store.run_all(calls), strict=True):
        take_places(run, *reply[5:7])


def take_places(run: Run, *places: Sequence[bytes]) -> None:
    """Take the newest entries of streams as glance.lua returns them: id and step, or nothing."""
    newest = max((place for place in places if place), key=lambda place: order(text(place[0])), default=None)
    if newest is not None:
        run.last_ms = max(run.last_ms or 0, time_ms_of(text(newest[0])))
        step = read_int({b"": newest[1]}, b"")
        run.newest_step = run.newest_step if step is None else step


def _take_roles(run: Run, roles: Roles, numbers: dict[str, float | int], names: dict[str, bytes]) -> None:
    def field_of(role: Role) -> RoleField:
        found = roles.get(role)
        if not found or found[0]["path"] not in names:  # it was never finite
            return RoleField()
        path = found[0]["path"]
        return RoleField(path, found[0]["label"], numbers.get(path), names[path])

    run.returns, run.env_steps, run.speed = field_of("return"), field_of("env_steps"), field_of("steps_per_s")


async def read_configs(store: Store, runs: Sequence[Run], pool: Pool) -> None:
    """Read the configurations of runs: `config` and the program's own sections without the section's name first."""
    async for run, stored in _hashes(store, runs, "config"):
        trees = {text(name): read_mapping(tree) for name, tree in stored.items()}
        own = trees.pop("config", {})
        trees.pop("changed", None)  # these values are in `config`
        run.config = pool.cells([*scalars(own), *scalars(trees)])


async def _hashes(store: Store, runs: Sequence[Run], part: str) -> Any:
    slices = Slices(store.turns)
    for first in range(0, len(runs), GROUP):
        group = runs[first : first + GROUP]
        keys = (ChannelKeys(run.session.channel).session(run.session.sid or "0") for run in group)
        found = await store.pipelined([("HGETALL", getattr(key, part)) for key in keys])
        for run, stored in zip(group, found, strict=True):
            yield run, _mapping(stored)
            await slices.rest()


def stored_number(stored: bytes | None) -> tuple[int, float | int | None]:
    """Return the time in ms and the number of a field of the state, `{entry id} {JSON}`; None for any other value."""
    return (0, None) if stored is None else _number(stored)


def _number(stored: bytes) -> tuple[int, float | int | None]:
    entry_id, _, value = stored.partition(b" ")
    at_ms = read_int({b"": entry_id.partition(b"-")[0]}, b"") or 0
    if not _NUMBER.fullmatch(value):
        return at_ms, None
    number = float(value)
    if not math.isfinite(number):
        return at_ms, None
    return at_ms, int(value) if value.lstrip(b"-").isdigit() else number


def _mapping(reply: Any) -> dict[bytes, bytes]:
    if isinstance(reply, dict):
        return reply
    flat: list[bytes] = reply or []
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _whole(score: Any) -> int:
    try:
        number = float(score)
    except (TypeError, ValueError):
        return 0
    return int(number) if math.isfinite(number) else 0


def keys_of(channels: Iterable[str], sids: Iterable[Iterable[Sid]]) -> list[Key]:
    """Return (channel, SID) of all sessions."""
    return [(channel, sid) for channel, found in zip(channels, sids, strict=True) for sid in found]
