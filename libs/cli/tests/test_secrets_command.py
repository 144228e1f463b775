"""``efferent secrets``: new root keys, rotation against a real nats-server, and what is refused."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from efferent.cli.log_access import connected, log_settings
from efferent.common.jetstream.data_keys import JetStreamDataKeys
from efferent.common.secrets import root_key
from efferent.common.secrets.box import SecretBox
from efferent.common.secrets.root_key import KEYS_MAX, SecretSettings
from libs.cli.tests.command_rig import environ_of, run, serving, with_log

OWNER = "vcrd_aaaaaaaaaaaaaaaaaaaaaaaa"
VALUES = {"token": "the value"}

Printed = pytest.CaptureFixture[str]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder, and no root key in the environment."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("EFFERENT_DATA_DIR", str(folder))
    for name in ("EFFERENT_SECRET_KEY", "EFFERENT_SECRET_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def log(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A nats-server that the commands find."""
    with serving(tmp_path / "nats") as spec:
        for name, value in environ_of(spec, data).items():
            monkeypatch.setenv(name, value)
        with_log(lambda control: control.last_sequence())  # makes the streams
        yield


def with_box[T](data: Path, use: Callable[[SecretBox], Awaitable[T]]) -> T:
    """What ``use`` makes of the box that a service with this data folder has."""

    async def using() -> T:
        async with connected(log_settings(os.environ)) as connection:
            box = SecretBox(JetStreamDataKeys(connection), SecretSettings().root_keys(data))
            await box.check()
            return await use(box)

    return asyncio.run(using())


def test_a_generated_key_is_printed_and_kept_nowhere(data: Path, capsys: Printed) -> None:
    first, second = (run(capsys, "secrets", "generate") for _ in range(2))
    assert (first[0], first[2], second[2]) == (0, "", "")
    assert first[1] != second[1]
    assert [len(key.key) for key in root_key.parse(f"{first[1]}, {second[1]}", "here")] == [32, 32]
    assert list(data.iterdir()) == []


@pytest.mark.usefixtures("log")
def test_secrets_open_through_a_whole_change_of_the_root_key(data: Path, capsys: Printed) -> None:
    file = data / root_key.FILE_NAME
    sealed = with_box(data, lambda box: box.seal(OWNER, VALUES))
    old = file.read_text().strip()
    code, said, _ = run(capsys, "secrets", "new-key")
    new, *rest = file.read_text().split()
    assert (code, rest) == (0, [old])
    assert "run 'efferent secrets rotate'" in said
    assert new not in said
    assert file.stat().st_mode & 0o777 == 0o600
    assert with_box(data, lambda box: box.open(OWNER, sealed)) == VALUES
    code, said, _ = run(capsys, "secrets", "rotate")
    assert code == 0
    assert said.startswith("efferent: 2 keys were rotated"), "the secret's and the canary"
    assert run(capsys, "secrets", "rotate")[1].startswith("efferent: 0 keys were rotated")
    file.write_text(new)
    assert with_box(data, lambda box: box.open(OWNER, sealed)) == VALUES


@pytest.mark.usefixtures("log")
def test_a_rotation_with_keys_of_another_installation_changes_nothing(data: Path, capsys: Printed) -> None:
    file = data / root_key.FILE_NAME
    sealed = with_box(data, lambda box: box.seal(OWNER, VALUES))
    right = file.read_text()
    file.write_text(root_key.generate())
    code, _, said = run(capsys, "secrets", "rotate")
    assert code == 2
    assert "is not the one that this installation was started with" in said
    file.write_text(right)
    assert with_box(data, lambda box: box.open(OWNER, sealed)) == VALUES


def test_a_configured_key_is_not_replaced_by_one_in_the_data_folder(
    data: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EFFERENT_SECRET_KEY", root_key.generate())
    code, _, said = run(capsys, "secrets", "new-key")
    assert code == 2
    assert "EFFERENT_SECRET_KEY" in said
    assert list(data.iterdir()) == []


def test_more_root_keys_than_can_be_used_are_refused_and_the_file_stays(data: Path, capsys: Printed) -> None:
    file = data / root_key.FILE_NAME
    root_key.write(file, [root_key.generate() for _ in range(KEYS_MAX)])
    before = file.read_text()
    code, _, said = run(capsys, "secrets", "new-key")
    assert code == 2
    assert f"more than {KEYS_MAX} keys" in said
    assert file.read_text() == before


def test_a_rotation_without_a_server_says_so(data: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NATS_URL", raising=False)
    code, _, said = run(capsys, "secrets", "rotate")
    assert code == 2
    assert "efferent up" in said or "is the server running?" in said
