"""Skills: versions, latest, names that stay. Pure."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efferent.common.domain.control import skill as rules
from efferent.common.domain.control.aggregate import SetFacts
from efferent.common.domain.control.skill import (
    SKILL,
    AddVersion,
    CreateSkill,
    DeleteSkill,
    DeleteVersion,
    NewVersion,
    SkillCommand,
    decide,
)
from efferent.common.domain.ids import SkillId, SkillVersionId, WorkspaceId
from efferent.common.domain.refusals import Conflict, InvalidRequest, NotFound, Refused
from efferent.common.domain.resources.skill import Skill, content_key, metadata, version_metadata
from efferent.common.domain.timestamp import Timestamp

EARLY: Final = Timestamp("2026-01-01T00:00:00.000000Z")
LATE: Final = Timestamp("2026-01-02T00:00:00.000000Z")
A: Final = SkillId("skill_a")


def version(number: int, name: str = "pdf-tools", description: str = "d") -> NewVersion:
    return NewVersion(SkillVersionId(f"skillver_{number}"), name, description, 10, "5a")


def make(display_name: str | None = None, name: str = "pdf-tools") -> Skill:
    change = decide(None, CreateSkill(A, version(1, name), display_name), EARLY)
    assert change.deed == "created"
    return change.data


def latest(skill: Skill) -> str:
    return metadata(skill).latest_version_id


def test_a_new_skill_is_called_as_its_slug_unless_it_is_called_otherwise() -> None:
    assert make().display_name == "pdf-tools"
    assert make("PDF Tools").display_name == "PDF Tools"


@pytest.mark.parametrize(("length", "is_taken"), [(0, False), (1, True), (255, True), (256, False)])
def test_the_display_name_has_1_to_255_characters(length: int, is_taken: bool) -> None:
    if is_taken:
        assert make("n" * length).display_name == "n" * length
    else:
        with pytest.raises(InvalidRequest, match="display_name: must be 1 to 255 characters long"):
            make("n" * length)


def test_a_display_name_that_another_skill_has_is_refused() -> None:
    assert SKILL.admit is not None
    SKILL.admit(make("PDF"), SetFacts())
    with pytest.raises(InvalidRequest, match='display_name: a skill named "PDF" already exists: skill_b'):
        SKILL.admit(make("PDF"), SetFacts(holder="skill_b"))


def test_the_newest_version_is_the_latest() -> None:
    change = decide(make(), AddVersion(version(2, description="new")), LATE)
    skill = change.data
    assert (change.deed, latest(skill), skill.updated_at, skill.created_at) == ("updated", "skillver_2", LATE, EARLY)
    found = skill.version("latest")
    assert found is not None
    assert version_metadata(skill, found).description == "new"


def test_when_the_latest_is_deleted_the_one_before_it_is_the_latest_again() -> None:
    two = decide(make(), AddVersion(version(2)), LATE).data
    one = decide(two, DeleteVersion("skillver_2"), LATE).data
    none = decide(one, DeleteVersion("skillver_1"), LATE).data
    assert (latest(one), latest(none), none.version("latest")) == ("skillver_1", "", None)
    assert latest(decide(none, AddVersion(version(3)), LATE).data) == "skillver_3"


def test_a_later_version_keeps_the_name() -> None:
    with pytest.raises(InvalidRequest, match='name must stay "pdf-tools" in all versions of a skill, and this is "x"'):
        decide(make(), AddVersion(version(2, name="x")), LATE)


def test_a_skill_with_versions_is_not_deleted() -> None:
    skill = make()
    with pytest.raises(InvalidRequest, match=r"Skill skill_a has versions\. Delete all of its versions first"):
        decide(skill, DeleteSkill(), LATE)
    empty = decide(skill, DeleteVersion("skillver_1"), LATE).data
    assert decide(empty, DeleteSkill(), LATE).deed == "deleted"


def test_what_is_not_there_is_not_found() -> None:
    for command in (AddVersion(version(2)), DeleteVersion("skillver_1"), DeleteSkill()):
        with pytest.raises(NotFound, match="Skill not found"):
            decide(None, command, EARLY)
    for unknown in ("skillver_9", "latest"):
        with pytest.raises(NotFound, match="Skill version not found"):
            decide(make(), DeleteVersion(unknown), EARLY)


def test_a_skill_is_made_once() -> None:
    with pytest.raises(Conflict, match="skill skill_a exists already"):
        decide(make(), CreateSkill(A, version(1)), LATE)


def test_the_number_of_versions_has_a_limit() -> None:
    skill = make()
    for number in range(2, rules.VERSIONS_MAX + 1):
        skill = decide(skill, AddVersion(version(number)), LATE).data
    with pytest.raises(InvalidRequest, match="A skill has at most 500 versions"):
        decide(skill, AddVersion(version(501)), LATE)


def test_archives_of_versions_lie_apart() -> None:
    one, eleven = (content_key(A, SkillVersionId(f"skillver_{number}")) for number in (1, 11))
    assert not eleven.startswith(one)


COMMANDS: st.SearchStrategy[SkillCommand] = st.one_of(
    st.builds(CreateSkill, st.just(A), st.builds(version, st.integers(1, 4)), st.sampled_from([None, "", "PDF"])),
    st.builds(AddVersion, st.builds(version, st.integers(1, 99), st.sampled_from(["pdf-tools", "other"]))),
    st.builds(DeleteVersion, st.sampled_from(["skillver_1", "skillver_2", "latest"])),
    st.just(DeleteSkill()),
)


@given(st.lists(st.tuples(COMMANDS, st.sampled_from([EARLY, LATE])), max_size=20))
def test_whatever_is_asked_the_laws_of_skills_hold(steps: list[tuple[SkillCommand, Timestamp]]) -> None:
    current: Skill | None = None
    for command, now in steps:
        try:
            change = decide(current, command, now)
        except Refused:
            continue
        if change.deed == "deleted":
            assert not change.data.versions
            current = None
            continue
        skill = change.data
        assert current is None or (skill.name, skill.created_at) == (current.name, current.created_at)
        assert current is None or skill.updated_at >= current.updated_at
        assert latest(skill) == (skill.versions[-1].id if skill.versions else "")
        record = SKILL.decode(SKILL.encode(change, at=now, workspace_id=WorkspaceId("wrkspc_a"), actor=None))
        assert record.data == skill
        current = skill
