"""Sealing: what opens, what never opens again, and which root key is the right one."""

import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from efferent.common.domain.ids import from_seed
from efferent.common.jetstream import streams
from efferent.common.jetstream.connection import Connection, connect
from efferent.common.jetstream.data_keys import JetStreamDataKeys
from efferent.common.jetstream.leases import JetStreamLeases
from efferent.common.runtime import nats_server
from efferent.common.runtime.clock import RandomSeeds
from efferent.common.runtime.free_port import free_port
from efferent.common.runtime.nats_server import ServerSpec
from efferent.common.secrets import root_key
from efferent.common.secrets.box import SecretBox, WrongRootKey
from efferent.common.secrets.envelope import CannotOpen
from efferent.common.secrets.root_key import BadRootKey, RootKey, SecretSettings

SECRETS = {"token": "the value"}


def fresh_root() -> RootKey:
    return RootKey(os.urandom(32))


def an_owner() -> str:
    return from_seed("vcrd_", RandomSeeds().seed())


@pytest.fixture
def keys(connection: Connection) -> JetStreamDataKeys:
    return JetStreamDataKeys(connection)


async def test_what_was_sealed_opens_for_its_owner_only(keys: JetStreamDataKeys) -> None:
    box, owner = SecretBox(keys, [fresh_root()]), an_owner()
    sealed = await box.seal(owner, SECRETS)
    assert "value" not in sealed.model_dump_json()
    assert await box.open(owner, sealed) == SECRETS
    with pytest.raises(CannotOpen):
        await box.open(an_owner(), sealed)


async def test_a_changed_ciphertext_does_not_open(keys: JetStreamDataKeys) -> None:
    box, owner = SecretBox(keys, [fresh_root()]), an_owner()
    sealed, other = await box.seal(owner, SECRETS), await box.seal(owner, SECRETS)
    for changed in (
        sealed.model_copy(update={"ciphertext": other.ciphertext}),
        sealed.model_copy(update={"nonce": other.nonce}),
        sealed.model_copy(update={"key_id": other.key_id}),
        sealed.model_copy(update={"ciphertext": "not base64!"}),
    ):
        with pytest.raises(CannotOpen):
            await box.open(owner, changed)


async def test_what_is_shredded_never_opens_again(keys: JetStreamDataKeys) -> None:
    box, owner = SecretBox(keys, [fresh_root()]), an_owner()
    old, new = await box.seal(owner, SECRETS), await box.seal(owner, {"token": "newer"})
    await box.shred(owner, keep=new)
    with pytest.raises(CannotOpen, match="destroyed"):
        await box.open(owner, old)
    assert await box.open(owner, new) == {"token": "newer"}
    await box.shred(owner)
    await box.shred(owner)
    with pytest.raises(CannotOpen):
        await box.open(owner, new)


async def test_a_shredded_key_is_in_none_of_the_servers_files(tmp_path: Path) -> None:
    def places_of(needle: bytes) -> list[Path]:
        return [path for path in spec.folder.rglob("*") if path.is_file() and needle in path.read_bytes()]

    spec = ServerSpec(folder=tmp_path / "nats", port=free_port(), token=nats_server.new_token())
    async with nats_server.running(spec) as server:
        connection = await connect([server.url], name="test", token=spec.token, within_s=10)
        await streams.declare(connection)
        keys, owner = JetStreamDataKeys(connection), an_owner()
        box = SecretBox(keys, [fresh_root()])
        old, new = await box.seal(owner, SECRETS), await box.seal(owner, {"token": "newer"})
        wrapped = {sealed.key_id: await keys.get(owner, sealed.key_id) for sealed in (old, new)}
        await box.shred(owner, keep=new)
        await connection.close()
    destroyed, kept = wrapped[old.key_id], wrapped[new.key_id]
    assert destroyed is not None
    assert kept is not None
    assert places_of(kept), "a key that is in use is found this way"
    assert places_of(destroyed) == []


async def test_a_wrong_root_key_is_refused_before_anything_is_done(keys: JetStreamDataKeys) -> None:
    right = fresh_root()
    await SecretBox(keys, [right]).check()
    await SecretBox(keys, [right]).check()
    wrong = SecretBox(keys, [fresh_root()])
    with pytest.raises(WrongRootKey):
        await wrong.check()
    owner = an_owner()
    sealed = await SecretBox(keys, [right]).seal(owner, SECRETS)
    with pytest.raises(CannotOpen):
        await wrong.open(owner, sealed)


async def test_after_a_rotation_the_old_root_key_is_not_needed(keys: JetStreamDataKeys) -> None:
    old, new = fresh_root(), fresh_root()
    before, owner = SecretBox(keys, [old]), an_owner()
    await before.check()
    sealed = await before.seal(owner, SECRETS)
    both = SecretBox(keys, [new, old])
    await both.check()
    assert await both.open(owner, sealed) == SECRETS
    assert await both.rotate() == 2
    assert await both.rotate() == 0
    after = SecretBox(keys, [new])
    await after.check()
    assert await after.open(owner, sealed) == SECRETS
    with pytest.raises(WrongRootKey):
        await before.check()


async def test_a_rotation_without_the_old_root_key_loses_nothing(keys: JetStreamDataKeys) -> None:
    old, owner = fresh_root(), an_owner()
    sealed = await SecretBox(keys, [old]).seal(owner, SECRETS)
    with pytest.raises(CannotOpen, match="not configured"):
        await SecretBox(keys, [fresh_root()]).rotate()
    assert await SecretBox(keys, [old]).open(owner, sealed) == SECRETS


async def test_a_lease_has_one_holder(connection: Connection) -> None:
    leases, name = JetStreamLeases(connection), an_owner()
    ticket = await leases.take(name, "one", ttl_s=30)
    assert ticket is not None
    assert await leases.take(name, "two", ttl_s=30) is None
    await leases.give_up(ticket)
    await leases.give_up(ticket)
    assert await leases.take(name, "two", ttl_s=30) is not None


async def test_who_takes_a_lease_again_has_it(connection: Connection) -> None:
    leases, names = JetStreamLeases(connection), (an_owner(), an_owner())
    first = await leases.take(names[0], "one", ttl_s=30)
    assert first is not None
    await leases.give_up(first)
    for name in names:
        assert await leases.take(name, "one", ttl_s=30) is not None
        assert await leases.take(name, "two", ttl_s=30) is None
        assert await leases.take(name, "one", ttl_s=30) is None, "it is not counted how often"


def test_the_data_folders_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    settings = SecretSettings(key=None, key_file=None)
    first = settings.root_keys(tmp_path)
    assert settings.root_keys(tmp_path) == first
    file = tmp_path / root_key.FILE_NAME
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [root_key.FILE_NAME]
    assert repr(first[0]) == "RootKey()"


@pytest.mark.parametrize(
    ("text", "problem"),
    [("", "is empty"), ("c2hvcnQ=", "a key of 5 bytes"), ("$$$$", "not base64"), ("x" * 3, "not base64")],
)
def test_a_root_key_that_cannot_be_one_is_refused_without_showing_it(text: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(BadRootKey, match=problem) as refused:
        SecretSettings(key=SecretStr(text)).root_keys(tmp_path)
    assert "EFFERENT_SECRET_KEY" in str(refused.value)
    assert not text or text not in str(refused.value)


def test_more_root_keys_than_allowed_are_refused(tmp_path: Path) -> None:
    text = " ".join(root_key.generate() for _ in range(root_key.KEYS_MAX + 1))
    with pytest.raises(BadRootKey, match="more than 8 keys"):
        SecretSettings(key=SecretStr(text)).root_keys(tmp_path)
    assert len(SecretSettings(key=SecretStr(text[:-45])).root_keys(tmp_path)) == root_key.KEYS_MAX


def test_a_key_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadRootKey, match="nowhere"):
        SecretSettings(key_file=tmp_path / "nowhere").root_keys(tmp_path)
