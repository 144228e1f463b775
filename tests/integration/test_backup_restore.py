"""A backup of a server that works, restored into an empty folder: the SDK sees the same, and sessions go on."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from anthropic import AsyncAnthropic

from efferent.common.runtime.free_port import free_port
from tests.support.backups import PASSPHRASE, efferent, everything
from tests.support.efferent_server import API_KEY, EfferentServer
from tests.support.playing import Played, message, of_type, text_of

SECRET: Final = "ghp-a-token-that-nobody-may-see"
LARGE: Final = "large " * 60_000
"""A message whose record becomes a blob."""

pytestmark = pytest.mark.timeout(300)


@dataclass
class Source:
    """A server with a history, and a backup of it."""

    server: EfferentServer
    archive: Path
    shown: dict[str, Any]


async def make_history(client: AsyncAnthropic, server: EfferentServer, archive: Path) -> dict[str, Any]:
    """Sessions, a secret, a large record; then a backup while another session is working."""
    first = await Played.create(client, model="offline/echo")
    await first.until_idle(message("$ echo kept > kept; cat kept"))
    await first.until_idle(message(LARGE))
    vault = await client.beta.vaults.create(display_name="keys")
    await client.beta.vaults.credentials.create(
        vault.id,
        auth={"type": "static_bearer", "token": SECRET, "mcp_server_url": "https://mcp.example.com/mcp"},
    )
    shown = await everything(client, [first.id])
    busy = asyncio.create_task(keep_busy(client))
    done = await asyncio.to_thread(efferent, server.data_dir, "backup", str(archive))
    busy.cancel()
    await asyncio.wait([busy])
    assert done.returncode == 0, done.stderr
    assert str(archive) in done.stderr
    return shown | {"first": first.id}


async def keep_busy(client: AsyncAnthropic) -> None:
    """What others do while the backup is written."""
    played = await Played.create(client, model="offline/echo")
    while True:
        await played.until_idle(message(LARGE))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    folder = tmp_path_factory.mktemp("source")
    server = EfferentServer(folder / "data")
    server.start()

    async def made() -> dict[str, Any]:
        async with AsyncAnthropic(base_url=server.base_url, api_key=API_KEY, max_retries=0) as client:
            return await make_history(client, server, folder / "backup")

    try:
        yield Source(server, folder / "backup", asyncio.run(made()))
    finally:
        assert server.stop() == 0


async def test_the_client_sees_the_same_and_the_session_goes_on(source: Source, tmp_path: Path) -> None:
    done = await asyncio.to_thread(efferent, tmp_path / "data", "restore", str(source.archive))
    assert done.returncode == 0, done.stderr
    server = EfferentServer(tmp_path / "data", port=free_port())
    await asyncio.to_thread(server.start)
    try:
        async with AsyncAnthropic(base_url=server.base_url, api_key=API_KEY, max_retries=0) as client:
            first = source.shown["first"]
            now = await everything(client, [first])
            busy = [session for session in now.pop("listed") if session != first]
            assert now["sessions"] == source.shown["sessions"]
            assert now["vaults"] == source.shown["vaults"]
            for kind in ("agents", "environments"):
                assert [each for each in source.shown[kind] if each not in now[kind]] == []
            # What was going on while the backup was written is whole too, and comes to its end.
            for session_id in busy:
                events = await Played(client, session_id).events()
                assert {len(text_of(event)) for event in of_type(events, "user.message")} <= {len(LARGE)}
            played = Played(client, first)
            went_on = await played.until_idle(message("$ echo after the restore"))
            assert text_of(of_type(went_on, "agent.tool_result")[0]).strip() == "after the restore"
            before = source.shown["sessions"][first][1]
            assert [event.to_dict(mode="json") for event in await played.events()][: len(before)] == before
    finally:
        assert await asyncio.to_thread(server.stop) == 0
    assert server.errors() == []
    kept = [(folder / "secret.key").read_text() for folder in (source.server.data_dir, server.data_dir)]
    assert kept[0] == kept[1]


def test_the_archive_can_be_read_by_its_owner_only_and_shows_nothing(source: Source) -> None:
    assert source.archive.stat().st_mode & 0o777 == 0o600
    content = source.archive.read_bytes()
    for secret in (SECRET, API_KEY, "kept", "SESSIONS"):
        assert secret.encode() not in content


def test_a_backup_never_overwrites(source: Source) -> None:
    before = source.archive.read_bytes()
    done = efferent(source.server.data_dir, "backup", str(source.archive))
    assert (done.returncode, "exists already" in done.stderr) == (2, True)
    assert source.archive.read_bytes() == before


def test_a_backup_without_a_passphrase_or_a_server_is_refused(source: Source, tmp_path: Path) -> None:
    done = efferent(source.server.data_dir, "backup", str(tmp_path / "b"), EFFERENT_BACKUP_PASSPHRASE="short")
    assert (done.returncode, "12 to 4096 characters" in done.stderr) == (2, True)
    done = efferent(tmp_path / "nothing", "backup", str(tmp_path / "b"))
    assert (done.returncode, "no server ever ran" in done.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_passphrase_changes_nothing(source: Source, tmp_path: Path) -> None:
    wrong = {"EFFERENT_BACKUP_PASSPHRASE": "another passphrase here"}
    done = efferent(tmp_path / "data", "restore", str(source.archive), **wrong)
    assert (done.returncode, "another passphrase" in done.stderr) == (2, True)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_a_damaged_archive_changes_nothing(source: Source, tmp_path: Path, damage: str) -> None:
    content = bytearray(source.archive.read_bytes())
    if damage == "cut":
        content = content[: 1024 * 1024 + 100]
    else:
        content[-20] ^= 1
    (tmp_path / "damaged").write_bytes(content)
    done = efferent(tmp_path / "data", "restore", str(tmp_path / "damaged"))
    assert (done.returncode, "damaged" in done.stderr) == (2, True)
    assert not (tmp_path / "data").exists()


def test_a_folder_that_holds_something_is_refused(source: Source, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    done = efferent(tmp_path, "restore", str(source.archive))
    assert (done.returncode, "is not empty" in done.stderr) == (2, True)
    assert (tmp_path / "notes").read_text() == "mine"
    done = efferent(source.server.data_dir, "restore", str(source.archive))
    assert (done.returncode, "in use by another" in done.stderr) == (2, True)


def test_a_restore_that_was_killed_is_refused_as_a_server_and_can_be_run_again(source: Source, tmp_path: Path) -> None:
    data = tmp_path / "data"
    environ = {**os.environ, "EFFERENT_DATA_DIR": str(data), "EFFERENT_BACKUP_PASSPHRASE": PASSPHRASE}
    command = [sys.executable, "-m", "efferent.cli.main", "restore", str(source.archive)]
    for _ in range(5):  # on a busy machine one may be over before it is killed
        with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE) as killed:
            while not (data / "nats" / "jetstream").exists():
                assert killed.poll() is None
            killed.kill()
        if (data / "restoring").exists():
            break
        shutil.rmtree(data)
    done = efferent(data, "up", EFFERENT_PORT=str(free_port()))
    assert (done.returncode, "did not come to its end: run it again" in done.stderr) == (2, True)
    done = efferent(data, "restore", str(source.archive))
    assert done.returncode == 0, done.stderr
    assert not (data / "restoring").exists()
    shutil.rmtree(data)
