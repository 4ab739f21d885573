"""Logs when the server cannot use its Redis, the reason, and when it can use it again.

Without it, a server whose Redis is unreachable prints its address and looks healthy until the first page is opened. The
check is the doctor's, so wrong passwords, replicas, TLS on one side only and a full Redis are distinguished. It also
keeps the scripts of publishers loaded, whose Redis user may have no right to send any. Runs beside the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import replace

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from hud_publisher.protocol.scripts import PUBLISHER_SCRIPTS, load_script
from hud_publisher.protocol.settings import Settings
from hud_publisher.protocol.transport.redis_clients import CLIENT_ERRORS
from hud_publisher.protocol.urls import RedisTarget, parse_redis_url
from hud_web.doctor.findings import Finding
from hud_web.doctor.reach import TIMEOUT_S
from hud_web.doctor.redis import examine_rights, explain, silent
from hud_web.store.cancellation import is_cancelled
from hud_web.store.redis_client import connect_writer

logger = logging.getLogger("hud.redis")

#: Time between two checks of four short commands. After a failover publishers wait this long for the scripts.
CHECK_S = 1.0
#: Time of the first check after which a silence is reported; to find its cause takes up to 2 * TIMEOUT_S.
PATIENCE_S = 1.5
#: Added to the first line about an address that has never worked.
_MEANWHILE = " The page starts, and shows runs as soon as this is mended."


async def watch_redis(settings: Settings, tell: Callable[[Finding | None], None]) -> None:
    """Check Redis until cancelled; log each change between working and each cause of trouble once.

    Args:
        settings: with a redis_url.
        tell: called with the result of each check; its text does not name the address.
    """
    assert settings.redis_url is not None
    target = parse_redis_url(settings.redis_url)
    client = connect_writer(settings.redis_url)
    cause, meanwhile = "", _MEANWHILE

    def report(trouble: Finding | None) -> None:
        nonlocal cause, meanwhile
        if trouble is None and cause:
            logger.warning("%s works again", target)
        elif trouble is not None and trouble.cause != cause:
            logger.warning("%s. Fix: %s%s", trouble.text, trouble.fix, meanwhile and f".{meanwhile}")
        cause, meanwhile = trouble.cause if trouble is not None else "", ""
        tell(trouble and replace(trouble, text=trouble.text.replace(str(target), "Redis")))

    silence = silent(target, f"has not answered for {PATIENCE_S:g} s")
    patience = asyncio.get_running_loop().call_later(PATIENCE_S, report, silence)
    try:
        while True:
            trouble = await _examine(client, target, settings)
            patience.cancel()
            if is_cancelled():
                return
            report(trouble)
            await asyncio.sleep(CHECK_S)
    finally:
        patience.cancel()
        await client.aclose()


async def _load_scripts(client: Redis) -> None:
    """Load those scripts of publishers that Redis does not know: it forgets them with a restart or a failover."""
    scripts = [load_script(name) for name in PUBLISHER_SCRIPTS]
    with contextlib.suppress(ResponseError):  # this user lacks the right; then publishers must send the scripts
        known = await client.script_exists(*[script.sha for script in scripts])
        for script, is_known in zip(scripts, known, strict=True):
            if not is_known:
                await client.script_load(script.source)


async def _examine(client: Redis, target: RedisTarget, settings: Settings) -> Finding | None:
    """Return the trouble with Redis; None if it takes the commands of this server."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await examine_rights(client, settings)
            await _load_scripts(client)
    except CLIENT_ERRORS as error:
        # It connects to each host, with blocking calls, to find the obstacle.
        return await asyncio.to_thread(explain, error, target, settings.redis_url_variable)
    return None
