"""Skills of agents and sessions: what may be attached, and which version a session uses."""

from pathlib import Path
from typing import Any

from services.gateway.tests.session_api import Api, api

READER = {"type": "agent_toolset_20260401"}
NO_READ = {"type": "agent_toolset_20260401", "configs": [{"name": "read", "enabled": False}]}


def skill_file(name: str, description: str = "Fills forms.") -> tuple[str, bytes]:
    return (f"{name}/SKILL.md", f"---\nname: {name}\ndescription: {description}\n---\n# How\n".encode())


async def skill(made: Api, name: str = "pdf-forms", **options: Any) -> str:
    created = await made.client.beta.skills.create(files=[skill_file(name)], **options)
    return created.id


def custom(skill_id: str, **fields: str) -> dict[str, str]:
    return {"type": "custom", "skill_id": skill_id, **fields}


async def test_an_agent_keeps_latest_and_a_session_pins_the_version_of_the_moment(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        skill_id = await skill(made)
        first = (await made.client.beta.skills.retrieve(skill_id)).latest_version_id
        agent = await made.agent(skills=[custom(skill_id)])
        shown = (await made.call("GET", f"/v1/agents/{agent}")).body["skills"]
        assert shown == [custom(skill_id, version="latest")]
        session = await made.session(agent=agent)
        assert session["agent"]["skills"] == [custom(skill_id, version=first)]
        await made.client.beta.skills.versions.create(skill_id, files=[skill_file("pdf-forms", "Better.")])
        second = (await made.client.beta.skills.retrieve(skill_id)).latest_version_id
        assert second != first
        later = await made.session(agent=agent)
        assert later["agent"]["skills"] == [custom(skill_id, version=second)]
        assert (await made.call("GET", f"/v1/sessions/{session['id']}")).body["agent"]["skills"][0]["version"] == first
        pinned = await made.session(
            agent={"type": "agent_with_overrides", "id": agent, "skills": [custom(skill_id, version=first)]}
        )
        assert pinned["agent"]["skills"] == [custom(skill_id, version=first)]
        none = await made.session(agent={"type": "agent_with_overrides", "id": agent, "skills": None})
        assert none["agent"]["skills"] == []


async def test_skills_that_an_agent_cannot_have(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        known = await skill(made)
        missing = "skill_aaaaaaaaaaaaaaaaaaaaaaaa"
        for skills, tools, said in (
            (
                [custom(missing)],
                READER,
                f'Could not resolve one or more skills: skill "{missing}" version "latest" not',
            ),
            ([custom(known, version="skillver_x")], READER, f'skill "{known}" version "skillver_x" not found'),
            ([{"type": "anthropic", "skill_id": "xlsx"}], READER, "none of the pre-built skills"),
            (
                [custom(known), custom(known, version="latest")],
                READER,
                f'skills.1: duplicate entry for skill "{known}"',
            ),
            ([custom(known)] * 501, READER, "skills: at most 500 skills are allowed"),
            ([{"type": "custom"}], READER, "Failed to parse request: skills[0].skill_id: field is required"),
            ([{"type": "x", "skill_id": "y"}], READER, 'skills[0].type: "x" is not a valid value'),
        ):
            body = {"name": "n", "model": "offline/echo", "tools": [tools], "skills": skills}
            refused = await made.call("POST", "/v1/agents", body)
            assert (refused.status, said in refused.message) == (400, True), refused.body
        other = await made.call(
            "POST",
            "/v1/agents",
            {"name": "n", "model": "offline/echo", "tools": [READER], "skills": [custom(known)]},
            key=made.other_key,
        )
        assert (other.status, "Could not resolve" in other.message) == (400, True)


async def test_tools_cannot_be_cleared_under_skills(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        agent = await made.agent(skills=[custom(await skill(made))])
        environment = await made.environment()
        override = {"type": "agent_with_overrides", "id": agent, "tools": []}
        create = await made.call("POST", "/v1/sessions", {"agent": override, "environment_id": environment})
        assert (create.status, "`read` tool" in create.message) == (400, True)
        session = await made.session(agent=agent)
        change = await made.call("POST", f"/v1/sessions/{session['id']}", {"agent": {"tools": []}})
        assert (change.status, "`read` tool" in change.message) == (400, True)


async def test_an_agent_without_the_read_tool_may_have_skills_but_no_sessions(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        agent = await made.agent(skills=[custom(await skill(made))], tools=[NO_READ])
        body = {"agent": agent, "environment_id": await made.environment()}
        refused = await made.call("POST", "/v1/sessions", body)
        assert (refused.status, refused.message) == (
            400,
            "Missing required tool: skills require the `read` tool to be usable (enabled) on the session's "
            "`agent_toolset`",
        )
        updated = await made.call("POST", f"/v1/agents/{agent}", {"tools": [READER]})
        assert updated.status == 200
        assert (await made.call("POST", "/v1/sessions", body)).status == 200


async def test_a_dangling_reference_stays_on_the_agent_and_refuses_sessions(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        skill_id = await skill(made)
        agent = await made.agent(skills=[custom(skill_id)])
        version = (await made.client.beta.skills.retrieve(skill_id)).latest_version_id
        await made.client.beta.skills.versions.delete(version, skill_id=skill_id)
        await made.client.beta.skills.delete(skill_id)
        assert (await made.call("GET", f"/v1/agents/{agent}")).body["skills"][0]["skill_id"] == skill_id
        refused = await made.call("POST", "/v1/sessions", {"agent": agent, "environment_id": await made.environment()})
        assert (refused.status, refused.message) == (
            400,
            f'Could not resolve one or more skills: skill "{skill_id}" version "latest" not found',
        )
