"""The faults of a run and their times, drawn from a seed, so that a failed run can be repeated.

This module knows no process: tests.faults.world carries out a plan.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

#: Writers: two that write to Redis and one that writes through a web replica.
WRITERS = ("w1", "w2", "h1")
REPLICAS = ("web1", "web2")
#: Every connection with a proxy on it: writers' and replicas' to Redis, h1's and the viewers' to a replica.
WAYS = ("w1", "w2", "h1", "web1", "web2", "view1", "view2")
#: How a child that a writer forks by os.fork ends.
CHILD_ENDS = ("close", "os._exit", "sys.exit", "del", "return")
#: How long the writers log, in seconds.
DURATION_S = 6.0


@dataclass(frozen=True, slots=True, order=True)
class Action:
    """One action of the world: `verb` is one of its methods, `how` a variant of it."""

    at_s: float
    verb: str
    target: str = ""
    value: float = 0.0
    how: str = ""

    def __str__(self) -> str:
        value = f"{self.value:g}" if self.value else ""
        return " ".join(part for part in (f"{self.at_s:.2f} s", self.verb, self.target, value, self.how) if part)


@dataclass(frozen=True, slots=True)
class Plan:
    """One run: all its random choices."""

    seed: int
    faults: tuple[str, ...]
    actions: tuple[Action, ...]

    def __str__(self) -> str:
        return f"seed {self.seed}: {'; '.join(map(str, self.actions))}"


Draw = Callable[[random.Random, float], list[Action]]


def _redis_killed(rng: random.Random, at_s: float) -> list[Action]:
    return [Action(at_s, "kill_redis"), Action(at_s + rng.uniform(0.05, 2.0), "start_redis")]


def _redis_storm(rng: random.Random, at_s: float) -> list[Action]:
    return [action for turn in range(3) for action in _redis_killed(rng, at_s + turn * 0.7)]


def _redis_frozen(rng: random.Random, at_s: float) -> list[Action]:
    return [Action(at_s, "freeze_redis"), Action(at_s + rng.uniform(0.2, 3.0), "thaw_redis")]


def _redis_full(rng: random.Random, at_s: float) -> list[Action]:
    return [Action(at_s, "fill_redis"), Action(at_s + rng.uniform(0.3, 1.5), "empty_redis")]


def _redis_forgets_scripts(_rng: random.Random, at_s: float) -> list[Action]:
    return [Action(at_s, "flush_scripts")]


def _web_killed(rng: random.Random, at_s: float) -> list[Action]:
    name = rng.choice(REPLICAS)
    return [Action(at_s, "kill_web", name), Action(at_s + rng.uniform(0.05, 1.5), "start_web", name)]


def _web_deployed(rng: random.Random, at_s: float) -> list[Action]:
    """A rolling restart: SIGTERM to one replica after the other."""
    names = rng.sample(REPLICAS, 2)
    gap_s = rng.uniform(0.5, 1.5)
    return [
        action
        for turn, name in enumerate(names)
        for action in (
            Action(at_s + turn * gap_s, "end_web", name),
            Action(at_s + turn * gap_s + 0.1, "start_web", name),
        )
    ]


def _web_frozen(rng: random.Random, at_s: float) -> list[Action]:
    name = rng.choice(REPLICAS)
    return [Action(at_s, "freeze_web", name), Action(at_s + rng.uniform(0.3, 3.5), "thaw_web", name)]


def _writer_killed(rng: random.Random, at_s: float) -> list[Action]:
    return [Action(at_s, "replace_writer", rng.choice(WRITERS))]


def _writer_frozen(rng: random.Random, at_s: float) -> list[Action]:
    name = rng.choice(WRITERS)
    return [Action(at_s, "freeze_writer", name), Action(at_s + rng.uniform(0.3, 4.0), "thaw_writer", name)]


def _all_writers_frozen(rng: random.Random, at_s: float) -> list[Action]:
    """Longer than the lease of two seconds: it lapses, and the run goes on in its session."""
    thaw_at_s = at_s + rng.uniform(2.1, 3.5)
    return [Action(at_s, "freeze_writer", name) for name in WRITERS] + [
        Action(thaw_at_s, "thaw_writer", name) for name in WRITERS
    ]


def _net_cut(rng: random.Random, at_s: float) -> list[Action]:
    way = rng.choice(WAYS)
    return [Action(at_s + turn * 0.3, "cut", way) for turn in range(rng.randint(1, 4))]


def _net_cut_in_an_answer(rng: random.Random, at_s: float) -> list[Action]:
    way = rng.choice(WAYS)
    return [Action(at_s + turn * 0.25, "cut_after", way, rng.randrange(1, 3000)) for turn in range(rng.randint(3, 8))]


def _net_swallows(rng: random.Random, at_s: float) -> list[Action]:
    way = rng.choice(WAYS)
    return [Action(at_s, "swallow", way), Action(at_s + rng.uniform(0.3, 3.5), "heal_way", way)]


def _net_deaf(rng: random.Random, at_s: float) -> list[Action]:
    way = rng.choice(WAYS)
    return [Action(at_s, "deafen", way), Action(at_s + rng.uniform(0.3, 3.5), "heal_way", way)]


def _net_slow(rng: random.Random, at_s: float) -> list[Action]:
    way = rng.choice(WAYS)
    return [Action(at_s, "delay", way, rng.uniform(0.005, 0.08)), Action(at_s + rng.uniform(0.5, 2.0), "heal_way", way)]


def _net_narrow(rng: random.Random, at_s: float) -> list[Action]:
    way = rng.choice(WAYS)
    rate = rng.uniform(100_000, 1_000_000)
    return [Action(at_s, "throttle", way, rate), Action(at_s + rng.uniform(0.5, 2.0), "heal_way", way)]


def _net_half_open(rng: random.Random, at_s: float) -> list[Action]:
    return [Action(at_s, rng.choice(("half_open_server", "half_open_client")), rng.choice(WAYS))]


def _net_deaf_long(rng: random.Random, at_s: float) -> list[Action]:
    """Longer than several time-outs of a publisher: it must back off and still lose nothing."""
    way = rng.choice(WAYS)
    return [Action(at_s, "deafen", way), Action(at_s + rng.uniform(4.5, 6.5), "heal_way", way)]


def _redis_flushed(_rng: random.Random, at_s: float) -> list[Action]:
    return [Action(at_s, "flush_redis")]


def _redis_failed_over(_rng: random.Random, at_s: float) -> list[Action]:
    return [Action(at_s, "fail_over_redis")]


def _writer_forks(rng: random.Random, at_s: float) -> list[Action]:
    """One to three children, each with another end."""
    return [
        Action(at_s + turn * 0.1, "fork_writer", rng.choice(WRITERS), rng.randint(1, 300), rng.choice(CHILD_ENDS))
        for turn in range(rng.randint(1, 3))
    ]


def _writer_multiprocesses(rng: random.Random, at_s: float) -> list[Action]:
    method = rng.choice(("fork", "spawn", "forkserver"))
    return [Action(at_s, "fork_writer", rng.choice(WRITERS), rng.randint(1, 300), method)]


def _publisher_copied(rng: random.Random, at_s: float) -> list[Action]:
    return [Action(at_s, "copy_writer", rng.choice(WRITERS))]


def _session_taken_over(rng: random.Random, at_s: float) -> list[Action]:
    ends = rng.choice(("release", "lapse"))
    return [Action(at_s, "take_over"), Action(at_s + rng.uniform(0.4, 1.2), "leave", ends)]


def _session_reset(_rng: random.Random, at_s: float) -> list[Action]:
    return [Action(at_s, "reset")]


def _session_lapses(_rng: random.Random, at_s: float) -> list[Action]:
    return [Action(at_s, "lapse")]


#: Every fault, by name.
FAULTS: dict[str, Draw] = {
    "redis killed": _redis_killed,
    "redis killed thrice": _redis_storm,
    "redis frozen": _redis_frozen,
    "redis full": _redis_full,
    "redis forgets scripts": _redis_forgets_scripts,
    "redis flushed": _redis_flushed,
    "redis failed over": _redis_failed_over,
    "web killed": _web_killed,
    "web deployed": _web_deployed,
    "web frozen": _web_frozen,
    "writer killed": _writer_killed,
    "writer frozen": _writer_frozen,
    "writer forks": _writer_forks,
    "writer starts a process": _writer_multiprocesses,
    "publisher copied": _publisher_copied,
    "all writers frozen": _all_writers_frozen,
    "net cut": _net_cut,
    "net cut in an answer": _net_cut_in_an_answer,
    "net swallows": _net_swallows,
    "net deaf": _net_deaf,
    "net deaf for long": _net_deaf_long,
    "net slow": _net_slow,
    "net narrow": _net_narrow,
    "net half open": _net_half_open,
    "session taken over": _session_taken_over,
    "session reset": _session_reset,
    "session lapses": _session_lapses,
}
#: A publisher that was refused waits longer each time, so a run of a few seconds has room for one change of runs only.
_ONCE = {"session taken over", "session reset", "redis killed thrice", "all writers frozen", "redis full",
         "redis flushed", "redis failed over"}  # fmt: skip


def draw(seed: int) -> Plan:
    """Two to five faults at random times, so they overlap as in production."""
    rng = random.Random(seed)
    faults: list[str] = []
    actions: list[Action] = []
    count = rng.randint(2, 5)
    while len(faults) < count:
        name = rng.choice(list(FAULTS))
        if name in _ONCE and name in faults:
            continue
        faults.append(name)
        actions += FAULTS[name](rng, rng.uniform(0.5, DURATION_S - 1.5))
    return Plan(seed, tuple(faults), tuple(sorted(actions)))
