"""Repository tokens of deployments: gone when it is archived by whomever, and never missed by a run in between."""

from collections.abc import Awaitable, Callable, Mapping

import pytest

from efferent.common.domain.control.deployment import ArchiveDeployment
from efferent.common.domain.resources.deployment import Deployment
from efferent.common.domain.sealed import Sealed
from efferent.common.jetstream import subjects
from efferent.common.ports import RawRecord
from efferent.common.secrets.box import SecretBox
from efferent.common.secrets.envelope import CannotOpen
from efferent.common.vaults.keeper import VaultKeeper
from efferent.common.vaults.leftovers import Leftovers
from services.automation.tests.deployments.deployment_rig import Replica, Stage

HOUR_S = 3_600.0


async def keys_of(stage: Stage, deployment: Deployment) -> list[str]:
    return list(await stage.keys.ids(deployment.id))


async def test_archiving_an_agent_destroys_the_tokens_of_its_deployments(stage: Stage) -> None:
    agent = await stage.agent()
    deployment = await stage.with_token("ghp_1", agent=agent)
    other = await stage.with_token("ghp_2")
    async with stage.replica():
        await stage.archive_agent(agent)
        await stage.until_no_keys(deployment.id)
    tokens = (await stage.deployment(deployment.id)).tokens
    assert tokens is not None
    with pytest.raises(CannotOpen):
        await stage.box.open(deployment.id, tokens)
    assert await keys_of(stage, other)


async def test_what_an_archiving_left_undone_is_done_when_its_record_comes_again(stage: Stage) -> None:
    """The gateway that archived it died before it could destroy the keys."""
    deployment = await stage.with_token("ghp_1")
    replica = stage.build()
    await replica.deployments.follow_deployment(await newest(stage, deployment))
    assert await keys_of(stage, deployment)
    await stage.change(deployment.id, ArchiveDeployment())
    for _ in range(2):
        await replica.deployments.follow_deployment(await newest(stage, deployment))
        assert not await keys_of(stage, deployment)


async def test_a_run_that_meets_new_tokens_uses_them(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its reading the deployment and its opening the tokens, an update replaced them."""
    deployment = await stage.with_token("ghp_old")
    old = deployment.tokens
    assert old is not None
    replica = stage.build()

    async def replaced() -> None:
        await stage.change(deployment.id, await stage.sealing(deployment.id, "ghp_new"))
        await stage.box.destroy(deployment.id, old)

    opened = await fire(stage, replica, monkeypatch, replaced)
    (run,) = await stage.runs()
    assert run.session_id is not None
    assert opened == [{"0": "ghp_new"}]
    assert (await stage.deployment(deployment.id)).status == "active"


async def test_a_run_that_meets_an_archived_deployment_is_dropped(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = await stage.with_token("ghp_1")
    replica = stage.build()

    async def archived() -> None:
        await stage.change(deployment.id, ArchiveDeployment())
        await stage.box.shred(deployment.id)

    assert await fire(stage, replica, monkeypatch, archived) == []
    assert await stage.runs() == []
    assert await stage.session_count() == 0


async def test_what_an_update_left_undone_is_done_at_the_next_start(stage: Stage) -> None:
    """A gateway died after the record of new tokens and before it destroyed the key of the old ones."""
    replaced, kept = [await stage.with_token(token) for token in ("ghp_1", "ghp_2")]
    await stage.change(replaced.id, await stage.sealing(replaced.id, "ghp_new"))
    about_to_be_used = await stage.sealing(kept.id, "ghp_next")
    leftovers = Leftovers(stage.control, stage.sessions, stage.keys, VaultKeeper(stage.aggregates, stage.box))
    assert await leftovers.finish() == 1
    assert await leftovers.finish() == 0
    newest_tokens = (await stage.deployment(replaced.id)).tokens
    assert newest_tokens is not None
    assert await keys_of(stage, replaced) == [newest_tokens.key_id]
    used = (await stage.change(kept.id, about_to_be_used)).tokens
    assert used is not None
    assert await stage.box.open(kept.id, used) == {"0": "ghp_next"}


async def newest(stage: Stage, deployment: Deployment) -> RawRecord:
    raw = await stage.control.last(subjects.control("deployment", deployment.id))
    assert raw is not None
    return raw


async def fire(
    stage: Stage, replica: Replica, monkeypatch: pytest.MonkeyPatch, between: Callable[[], Awaitable[None]]
) -> list[Mapping[str, str]]:
    """Perform the run of the next slot with something that happens before tokens are first opened; what was opened."""
    opened: list[Mapping[str, str]] = []
    really, waits = SecretBox.open, [between]

    async def open_later(box: SecretBox, owner: str, sealed: Sealed) -> dict[str, str]:
        while waits:
            await waits.pop()()
        values = await really(box, owner, sealed)
        opened.append(values)
        return values

    await replica.subscriptions.declare()
    await replica.deployments.scheduler.catch_up()
    stage.advance(HOUR_S + 540)
    assert await replica.deployments.scheduler.start_due() == 1
    (begun,) = await stage.runs()
    raw = await stage.control.last(subjects.control("deployment_run", begun.id))
    assert raw is not None
    with monkeypatch.context() as patched:
        patched.setattr(SecretBox, "open", open_later)
        await replica.deployments.perform(raw)
    return opened
