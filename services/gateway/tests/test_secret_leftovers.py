"""Gateways that start: what a crash left of secrets is finished, and a wrong root key is refused."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from pydantic import SecretStr

from efferent.common.control.aggregates import Actor, Aggregates
from efferent.common.control.deployments import DEPLOYMENTS
from efferent.common.control.log_sets import LogSets
from efferent.common.control.vaults import CREDENTIALS, VAULTS
from efferent.common.control.webhook_endpoints import HOME, WEBHOOK_ENDPOINTS, NewEndpoint, SigningSecrets
from efferent.common.domain.commands import RotateRepositoryToken
from efferent.common.domain.control.credential import ArchiveCredential, NewSecrets, UpdateCredential
from efferent.common.domain.control.deployment import DeploymentFields, UpdateDeployment
from efferent.common.domain.control.vault import ArchiveVault, DeleteVault
from efferent.common.domain.control.webhook_endpoint import DeleteEndpoint, ReplaceSecret
from efferent.common.domain.ids import (
    CredentialId,
    DeploymentId,
    SessionId,
    SessionResourceId,
    VaultId,
    from_seed,
)
from efferent.common.jetstream.data_keys import JetStreamDataKeys
from efferent.common.runtime.metrics import Metrics
from efferent.common.secrets import root_key
from efferent.common.secrets.box import SecretBox, WrongRootKey
from efferent.common.secrets.root_key import SecretSettings
from efferent.gateway.app import build
from services.gateway.tests.gateway_rig import CLOCK, ROOT_KEY, SEEDS, Served, ServerAddress, serve, settings
from services.gateway.tests.test_vaults import a_credential, a_vault, data_keys

WAIT_S = 30.0


class Left:
    """Does by hand what a gateway does, and stops in the middle."""

    def __init__(self, served: Served, folder: Path) -> None:
        self.served = served
        self.actor = Actor(served.workspace_id)
        self.aggregates = Aggregates(
            served.control_log, LogSets(served.control_log), CLOCK, Metrics(), write_deadline_s=5
        )
        roots = SecretSettings(key=SecretStr(ROOT_KEY)).root_keys(folder)
        self.box = SecretBox(JetStreamDataKeys(served.connection), roots)

    async def until_keys(self, owner: str, expected: Sequence[str]) -> None:
        """Wait until these are the owner's keys."""
        async with asyncio.timeout(WAIT_S):
            while await data_keys(self.served, owner) != list(expected):  # noqa: ASYNC110 (JetStream does not tell)
                await asyncio.sleep(0.02)


@pytest.fixture
def left(served: Served, tmp_path: Path) -> Left:
    return Left(served, tmp_path)


async def test_an_archived_credential_is_shredded(
    left: Left, served: Served, nats_address: ServerAddress, tmp_path: Path
) -> None:
    vault_id = VaultId(await a_vault(served))
    made = CredentialId((await a_credential(served, vault_id))["id"])
    await CREDENTIALS.change(left.aggregates, left.actor, made, ArchiveCredential(), within=vault_id)
    assert len(await data_keys(served, made)) == 1
    async with serve(nats_address, tmp_path / "next"):
        await left.until_keys(made, [])


@pytest.mark.parametrize("command", [ArchiveVault(), DeleteVault()], ids=["archived", "deleted"])
async def test_the_cascade_of_a_vault_is_finished(
    left: Left,
    served: Served,
    nats_address: ServerAddress,
    tmp_path: Path,
    command: ArchiveVault | DeleteVault,
) -> None:
    vault_id = VaultId(await a_vault(served))
    made = (await a_credential(served, vault_id))["id"]
    await VAULTS.change(left.aggregates, left.actor, vault_id, command)
    path = f"/v1/vaults/{vault_id}/credentials/{made}"
    assert (await served.call("GET", path)).body["archived_at"] is None
    async with serve(nats_address, tmp_path / "next"):
        await left.until_keys(made, [])
    after = await served.call("GET", path)
    if isinstance(command, ArchiveVault):
        assert after.body["archived_at"] is not None
    else:
        assert after.status == 404


async def test_a_secret_that_was_replaced_is_destroyed_and_one_that_is_being_made_is_not(
    left: Left, served: Served, nats_address: ServerAddress, tmp_path: Path
) -> None:
    vault_id = VaultId(await a_vault(served))
    made = CredentialId((await a_credential(served, vault_id))["id"])
    before = await CREDENTIALS.get(left.aggregates, served.workspace_id, made, within=vault_id)
    sealed = await left.box.seal(made, {"token": "newer"})
    replace = UpdateCredential(secrets=NewSecrets(sealed, before.sealed))
    await CREDENTIALS.change(left.aggregates, left.actor, made, replace, within=vault_id)
    about_to_be_written = await left.box.seal(made, {"token": "newest"})
    assert len(await data_keys(served, made)) == 3
    async with serve(nats_address, tmp_path / "next"):
        await left.until_keys(made, [sealed.key_id, about_to_be_written.key_id])
    assert await left.box.open(made, sealed) == {"token": "newer"}


async def test_signing_secrets_that_were_replaced_or_whose_endpoint_is_gone_are_destroyed(
    left: Left, served: Served, nats_address: ServerAddress, tmp_path: Path
) -> None:
    secrets = SigningSecrets(left.aggregates, left.box)
    replaced, gone = (from_seed("whep_", SEEDS.seed()) for _ in range(2))
    for endpoint_id in (replaced, gone):
        await secrets.create(None, NewEndpoint(endpoint_id, "https://hooks.example.com", ("agent.created",)))
    sealed = await left.box.seal(replaced, {"signing_secret": "newer"})
    home = Actor(HOME)
    await WEBHOOK_ENDPOINTS.change(left.aggregates, home, replaced, ReplaceSecret(sealed))
    await WEBHOOK_ENDPOINTS.change(left.aggregates, home, gone, DeleteEndpoint())
    async with serve(nats_address, tmp_path / "next"):
        await left.until_keys(gone, [])
        await left.until_keys(replaced, [sealed.key_id])
    await secrets.delete(None, replaced)


async def test_tokens_of_repositories_that_were_replaced_or_cleared_are_destroyed(
    left: Left, served: Served, nats_address: ServerAddress, tmp_path: Path
) -> None:
    agent = (await served.call("POST", "/v1/agents", {"name": "a", "model": "offline/echo"})).body["id"]
    environment = (await served.call("POST", "/v1/environments", {"name": "e"})).body["id"]
    on = {"agent": agent, "environment_id": environment}
    repository = {"type": "github_repository", "url": "https://github.com/a/b", "authorization_token": "s3cret"}
    hello = {"type": "user.message", "content": [{"type": "text", "text": "hello"}]}
    body = {"name": "d", **on, "initial_events": [hello], "resources": [repository]}
    deployment = DeploymentId((await served.call("POST", "/v1/deployments", body)).body["id"])
    cleared = UpdateDeployment(DeploymentFields(resources=(), tokens=None))
    await DEPLOYMENTS.change(left.aggregates, left.actor, deployment, cleared)
    session = (await served.call("POST", "/v1/sessions", {**on, "resources": [repository]})).body
    session_id, resource_id = SessionId(session["id"]), SessionResourceId(session["resources"][0]["id"])
    assert served.gateway._sessions is not None
    store = served.gateway._sessions.store
    before = (await store.load(session_id, served.workspace_id)).state.sealed_tokens
    sealed = await left.box.seal(session_id, {resource_id: "newer"})
    await store.execute(session_id, served.workspace_id, RotateRepositoryToken(resource_id, sealed, before))
    about_to_be_written = await left.box.seal(session_id, {resource_id: "newest"})
    assert [len(await data_keys(served, owner)) for owner in (deployment, session_id)] == [1, 3]
    async with serve(nats_address, tmp_path / "next"):
        await left.until_keys(deployment, [])
        await left.until_keys(session_id, [sealed.key_id, about_to_be_written.key_id])


async def test_a_gateway_with_another_root_key_does_not_start(
    served: Served, nats_address: ServerAddress, tmp_path: Path
) -> None:
    await a_credential(served, await a_vault(served))
    wrong = SecretSettings(key=SecretStr(root_key.generate()))
    gateway = build(settings(nats_address, tmp_path / "wrong").model_copy(update={"secrets": wrong}), environ={})
    with pytest.raises(WrongRootKey, match="is not the one that this installation was started with"):
        await gateway.start()
    await gateway.stop()
