"""Registers a run: in the channel that it asked for, or in a channel of its own beside it.

A run that finds its channel held may continue in `NAME~2`, or the smallest higher number whose channel is free. A note
beside the held channel tells the number to all processes of the run. The note is a hint: if the run's session in that
channel has ended, it is forgotten. Does no I/O: the procedure yields script calls and gets their replies. Called by
hud_publisher.sinks.redis_sink, and by hud_web.store.store for publishers over HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any

from hud_publisher.protocol.keys import aside_channel
from hud_publisher.protocol.texts import text

if TYPE_CHECKING:
    from hud_publisher.protocol.scripts import RegisterCalls, ScriptCall

#: Own channels of one name: keys.check_channel allows numbers of four digits.
MAX_NUMBER = 9999

Reply = Sequence[Any]
#: Yields script calls, is sent their replies, and returns the reply of register.lua that counts.
Procedure = Generator["ScriptCall", Reply, Reply]


def register(calls: RegisterCalls, *, takeover: bool = False, aside: bool = False) -> Procedure:
    """Take the channel, join the session of the run, or find the channel in which the run continues.

    Args:
        calls: of the process.
        takeover: end another run's session instead of being refused.
        aside: if another run holds the channel, take one of the run's own.
    """
    reply = yield calls.take(takeover=takeover)
    while text(reply[0]) == "aside":
        number = int(reply[1])
        there = yield calls.take(aside_channel(calls.channel, number), continues_only=True)
        if _is_ours(there):
            return there
        yield calls.note(ended=number)
        reply = yield calls.take()
    if text(reply[0]) != "held" or not aside:
        return reply
    for number in range(2, MAX_NUMBER + 1):
        own = aside_channel(calls.channel, number)
        there = reply if own == calls.channel else (yield calls.take(own))
        if not _is_ours(there):
            continue
        noted = str(number) if calls.run_id is None else text((yield calls.note(number=number)))
        if noted == str(number):
            return there
        # Another process of this run was faster, in another channel.
        yield calls.release(text(there[1]))
        return (yield calls.take(aside_channel(calls.channel, int(noted))))
    return reply


def run(procedure: Procedure, execute: Callable[[ScriptCall], Any]) -> Reply:
    """Execute a procedure's calls with a blocking client; raises as `execute` does."""
    try:
        call = next(procedure)
        while True:
            call = procedure.send(execute(call))
    except StopIteration as done:
        reply: Reply = done.value
        return reply


def _is_ours(reply: Reply) -> bool:
    return text(reply[0]) in ("registered", "joined")
