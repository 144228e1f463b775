"""The commands of the server as a person runs them, and what clients see before and after a restore."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from anthropic import AsyncAnthropic

from tests.support.playing import Played

PASSPHRASE: Final = "correct horse battery staple"


def efferent(data: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "efferent.cli.main", *arguments],
        env={**os.environ, "EFFERENT_DATA_DIR": str(data), "EFFERENT_BACKUP_PASSPHRASE": PASSPHRASE, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def everything(client: AsyncAnthropic, session_ids: list[str]) -> dict[str, Any]:
    """What the API shows of it all."""
    sessions = {}
    for session_id in session_ids:
        played = Played(client, session_id)
        session = (await played.retrieve()).to_dict(mode="json")
        del session["stats"]  # it moves on with the clock
        sessions[session_id] = (session, [event.to_dict(mode="json") for event in await played.events()])
    return {
        "sessions": sessions,
        "listed": [session.id async for session in client.beta.sessions.list()],
        "agents": [agent.to_dict(mode="json") async for agent in client.beta.agents.list()],
        "environments": [each.to_dict(mode="json") async for each in client.beta.environments.list()],
        "vaults": [vault.to_dict(mode="json") async for vault in client.beta.vaults.list()],
    }
