"""Which version an agent means, and what is said when there is none."""

import pytest

from efferent.common.control.aggregates import Actor
from efferent.common.domain.ids import WorkspaceId
from efferent.common.domain.refusals import InvalidRequest
from efferent.common.domain.resources.skill import Skill
from efferent.common.skills.package import UploadedPart
from efferent.common.skills.resolver import SkillResolver, WantedSkill
from libs.common.tests.blobs.store_rig import ACTOR, Stores


@pytest.fixture
def stores() -> Stores:
    return Stores()


def skill_md(description: str = "d") -> list[UploadedPart]:
    return [UploadedPart("x/SKILL.md", f"---\nname: x\ndescription: {description}\n---\n".encode())]


async def two_versions(stores: Stores) -> Skill:
    skill = await stores.skills.create(ACTOR, skill_md(), display_name=None)
    skill, _ = await stores.skills.add_version(ACTOR, skill.id, skill_md("new"))
    return skill


async def test_latest_becomes_a_version_that_stays(stores: Stores) -> None:
    skill = await two_versions(stores)
    first, second = skill.versions
    resolver = SkillResolver(stores.aggregates)
    wanted = [WantedSkill("custom", skill.id, version) for version in (None, "latest", first.id)]
    found = await resolver.resolve(ACTOR.workspace_id, wanted)
    assert [one.version for one in found] == [second.id, second.id, first.id]
    assert [one.description for one in found] == ["new", "new", "d"]
    assert {one.name for one in found} == {"x"}
    assert await stores.keys() == sorted({one.blob_key for one in found})


async def test_everything_that_is_missing_is_named(stores: Stores) -> None:
    skill = await two_versions(stores)
    wanted = [
        WantedSkill("custom", "skill_unknown"),
        WantedSkill("custom", skill.id, "skillver_unknown"),
        WantedSkill("custom", "../x", "1"),
        WantedSkill("custom", skill.id),
    ]
    with pytest.raises(InvalidRequest) as caught:
        await SkillResolver(stores.aggregates).resolve(ACTOR.workspace_id, wanted)
    assert caught.value.message == (
        'Could not resolve one or more skills: skill "skill_unknown" version "latest" not found, '
        f'skill "{skill.id}" version "skillver_unknown" not found, skill "../x" version "1" not found'
    )


async def test_a_skill_of_another_workspace_is_not_found(stores: Stores) -> None:
    skill = await two_versions(stores)
    with pytest.raises(InvalidRequest, match="not found"):
        await SkillResolver(stores.aggregates).resolve(WorkspaceId("wrkspc_b"), [WantedSkill("custom", skill.id)])


async def test_a_skill_without_versions_has_no_latest(stores: Stores) -> None:
    skill = await two_versions(stores)
    for version in skill.versions:
        await stores.skills.delete_version(ACTOR, skill.id, version.id)
    with pytest.raises(InvalidRequest, match=f'skill "{skill.id}" version "latest" not found'):
        await SkillResolver(stores.aggregates).resolve(ACTOR.workspace_id, [WantedSkill("custom", skill.id)])


async def test_pre_built_skills_are_refused_with_what_to_do_instead(stores: Stores) -> None:
    with pytest.raises(InvalidRequest, match=r'skill "xlsx" not found: this server has none of the pre-built skills'):
        await SkillResolver(stores.aggregates).resolve(ACTOR.workspace_id, [WantedSkill("anthropic", "xlsx")])


async def test_a_refused_version_leaves_no_archive(stores: Stores) -> None:
    skill = await two_versions(stores)
    before = await stores.keys()
    other = [UploadedPart("y/SKILL.md", b"---\nname: y\ndescription: d\n---\n")]
    with pytest.raises(InvalidRequest, match='name must stay "x"'):
        await stores.skills.add_version(ACTOR, skill.id, other)
    with pytest.raises(InvalidRequest, match='a skill named "x" already exists'):
        await stores.skills.create(Actor(ACTOR.workspace_id), skill_md(), display_name=None)
    assert await stores.keys() == before
