"""The training run of `hud demo`: a child process, started once the page is up and ended before the server ends.

It imports nothing of RLlib; it only knows the name of the module to run. Called by the command line.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import sys
from collections.abc import Callable
from importlib.util import find_spec

from hud_publisher.protocol.errors import ConfigError
from hud_web.command.parent_death import told_of_our_end

MODULE = "rllib_integration.demo"
#: ray takes a few seconds to end its processes.
STOP_TIMEOUT_S = 20.0


def check_installed() -> None:
    """Raise ConfigError if RLlib or the game is not installed."""
    missing = [name for name in ("ray", "torch", "ale_py") if find_spec(name) is None]
    if missing:
        raise ConfigError(f"the demo needs {', '.join(missing)}, not installed here: pip install 'rl-hud[all]'")


class TrainingRun:
    """One run of the demo's training."""

    def __init__(self, redis_url: str, *, channel: str, arguments: list[str], say: Callable[[str], None]) -> None:
        self._environment = dict(os.environ) | {
            "HUD_REDIS_URL": redis_url,
            "HUD_CHANNEL": channel,
            "HUD_RUN_ID": secrets.token_urlsafe(16),
            "PYTHONUNBUFFERED": "1",
        }
        self._environment.pop("HUD_URL", None)
        self._arguments = arguments
        self._say = say

    async def run(self) -> None:
        """Run it to its end; when cancelled, ask it to end, wait, and kill its remaining processes."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", MODULE, *self._arguments,
            env=self._environment, stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C goes to this process only, which ends the run in order
            preexec_fn=told_of_our_end(signal.SIGTERM),  # if this process is killed, the run ends itself in order
        )  # fmt: skip
        try:
            code = await process.wait()
            self._say(f"The training ended with code {code}. The page stays; Ctrl-C ends it.")
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await self._stop(process)
            raise

    async def _stop(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is None:
            self._say("Ending the training …")
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await process.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):  # remaining processes of its group
            os.killpg(process.pid, signal.SIGKILL)
        if process.returncode is None:
            await process.wait()
