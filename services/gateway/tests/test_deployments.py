"""``/v1/deployments`` and ``/v1/deployment_runs``, with the official client and without."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from efferent.common.control.aggregates import Actor, SetQuestion
from efferent.common.control.deployments import DEPLOYMENT_RUNS
from efferent.common.domain.control.aggregate import ORGANIZATION
from efferent.common.domain.control.deployment import DEPLOYMENT
from efferent.common.domain.control.deployment_run import FinishRun, StartRun, run_of_key, run_of_slot
from efferent.common.domain.ids import AgentId, DeploymentId, SessionId
from efferent.common.domain.resources.deployment import AgentReference
from efferent.common.domain.resources.deployment_run import ManualTrigger, ScheduleTrigger
from efferent.common.domain.timestamp import Timestamp, to_datetime
from efferent.common.testing.fake_clock import FakeClock
from efferent.gateway.context import CONTEXT, GatewayContext
from services.gateway.tests.gateway_rig import Answer, Served, ServerAddress, serve

PARSE: Final = "Failed to parse request: "
HELLO: Final = {"type": "user.message", "content": [{"type": "text", "text": "hello"}]}
FILE_DOCUMENT: Final = {"type": "document", "source": {"type": "file", "file_id": "file_x"}}
HOURLY: Final = {"type": "cron", "expression": "0 * * * *", "timezone": "Europe/Berlin"}
TOKEN: Final = "ghp_a-token-that-nobody-may-see"


def inside(served: Served) -> GatewayContext:
    """The parts of the running gateway."""
    assert served.gateway._http is not None
    return served.gateway._http._runner.app[CONTEXT]


async def ground(served: Served) -> dict[str, Any]:
    """An agent and an environment, as a deployment names them."""
    body = {"name": "a", "model": "offline/demo", "tools": [{"type": "agent_toolset_20260401"}]}
    agent = await served.call("POST", "/v1/agents", body)
    name = f"env {len(await listed(served, '/v1/environments'))}"
    environment = await served.call("POST", "/v1/environments", {"name": name})
    return {"agent": agent.body["id"], "environment_id": environment.body["id"]}


async def make(served: Served, **fields: Any) -> dict[str, Any]:
    """A new deployment."""
    body = {"name": "nightly", "initial_events": [HELLO], **fields}
    if "agent" not in body:
        body |= await ground(served)
    answer = await served.call("POST", "/v1/deployments", body)
    assert answer.status == 200, answer.body
    made: dict[str, Any] = answer.body
    return made


async def listed(served: Served, path: str) -> list[dict[str, Any]]:
    """The first page of a list."""
    answer = await served.call("GET", path)
    assert answer.status == 200, answer.body
    found: list[dict[str, Any]] = answer.body["data"]
    return found


async def test_a_new_deployment_has_every_field_with_its_default(served: Served) -> None:
    given = await ground(served)
    made = await make(served, **given)
    assert made.pop("id").startswith("depl_")
    assert made.pop("created_at") == made.pop("updated_at")
    assert made == {
        "type": "deployment",
        "name": "nightly",
        "description": None,
        "agent": {"type": "agent", "id": given["agent"], "version": 1},
        "environment_id": given["environment_id"],
        "initial_events": [HELLO | {"content": [{"type": "text", "text": "hello"}]}],
        "schedule": None,
        "status": "active",
        "paused_reason": None,
        "resources": [],
        "vault_ids": [],
        "metadata": {},
        "archived_at": None,
    }


async def test_the_official_client_does_all_ten_things(served: Served) -> None:
    given = await ground(served)
    beta = served.sdk().beta
    made = await beta.deployments.create(
        name="nightly",
        agent=given["agent"],
        environment_id=given["environment_id"],
        initial_events=[{"type": "user.message", "content": [{"type": "text", "text": "go"}]}],
        schedule={"type": "cron", "expression": "0 9 * * 1-5", "timezone": "America/New_York"},
        metadata={"a": "1"},
    )
    assert await beta.deployments.retrieve(made.id) == made
    assert [found.id async for found in beta.deployments.list()] == [made.id]
    changed = await beta.deployments.update(made.id, name="other", metadata={"a": None, "b": "2"})
    assert (changed.name, changed.metadata, changed.schedule) == ("other", {"b": "2"}, made.schedule)
    paused = await beta.deployments.pause(made.id)
    assert (paused.status, paused.paused_reason and paused.paused_reason.type) == ("paused", "manual")
    run = await beta.deployments.run(made.id)
    assert (run.deployment_id, run.agent, run.error, run.trigger_context.type) == (made.id, made.agent, None, "manual")
    assert run.session_id is not None
    session = await beta.sessions.retrieve(run.session_id)
    assert (session.deployment_id, session.agent.id) == (made.id, given["agent"])
    assert await beta.deployment_runs.retrieve(run.id) == run
    assert [found.id async for found in beta.deployment_runs.list(deployment_id=made.id)] == [run.id]
    assert (await beta.deployments.unpause(made.id)).status == "active"
    archived = await beta.deployments.archive(made.id)
    assert archived.archived_at is not None
    assert archived.schedule is not None
    assert archived.schedule.upcoming_runs_at == []
    assert await beta.deployments.archive(made.id) == archived


async def test_the_agent_is_pinned_and_an_update_pins_it_again(served: Served) -> None:
    made = await make(served)
    agent_id = made["agent"]["id"]
    await served.call("POST", f"/v1/agents/{agent_id}", {"version": 1, "name": "b"})
    path = f"/v1/deployments/{made['id']}"
    assert (await served.call("GET", path)).body["agent"]["version"] == 1
    assert (await served.call("POST", path, {"name": "x"})).body["agent"]["version"] == 1
    assert (await served.call("POST", path, {"agent": agent_id})).body["agent"]["version"] == 2
    pinned = {"type": "agent", "id": agent_id, "version": 1}
    assert (await served.call("POST", path, {"agent": pinned})).body["agent"] == pinned


async def test_an_update_replaces_clears_and_preserves(served: Served) -> None:
    made = await make(served, schedule=HOURLY, description="d", budget=_budget("500"))
    path = f"/v1/deployments/{made['id']}"
    assert made["budget"] == _budget("500")
    kept = (await served.call("POST", path, {"metadata": {"k": "v"}})).body
    assert (kept["schedule"], kept["budget"], kept["description"]) == (made["schedule"], made["budget"], "d")
    cleared = (await served.call("POST", path, {"schedule": None, "budget": None, "description": None})).body
    assert (cleared["schedule"], cleared["description"]) == (None, None)
    assert "budget" not in cleared
    again = (await served.call("POST", path, {"budget": _budget("1"), "schedule": HOURLY})).body
    assert (again["budget"], again["schedule"]["expression"]) == (_budget("1"), "0 * * * *")
    before = (await served.call("GET", path)).body
    assert (await served.call("POST", path, {"name": "nightly"})).body == before


def _budget(cents: str) -> dict[str, Any]:
    return {"type": "limit", "max_list_cost": {"amount": cents, "currency": "USD"}}


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"name": ""}, 400, PARSE + "name: must be at least 1 character long"),
        ({"name": "x" * 257}, 400, PARSE + "name: must be at most 256 characters long"),
        ({"initial_events": []}, 400, PARSE + "initial_events: must have at least 1 entry"),
        ({"initial_events": [HELLO] * 51}, 400, PARSE + "initial_events: must have at most 50 entries"),
        (
            {"initial_events": [{"type": "system.message", "content": [{"type": "text", "text": "s"}]}]},
            400,
            "initial_events: at least one user.message or user.define_outcome is required",
        ),
        ({"initial_events": [{"type": "user.interrupt"}]}, 400, PARSE + "initial_events[0].type:"),
        (
            {"initial_events": [{"type": "user.message", "content": [FILE_DOCUMENT] * 101}]},
            400,
            "initial_events: at most 100 document blocks may come from files",
        ),
        ({"agent": "agent_unknown"}, 404, "Agent not found."),
        ({"agent": "nonsense"}, 400, "Invalid agent ID."),
        ({"environment_id": "env_unknown"}, 404, "Environment not found."),
        ({"vault_ids": ["vlt_unknown"]}, 404, "vault_ids[0]: Vault vlt_unknown not found."),
        ({"vault_ids": ["vlt_a"] * 51}, 400, PARSE + "vault_ids: must have at most 50 entries"),
        (
            {"resources": [{"type": "file", "file_id": "file_unknown"}]},
            404,
            "resources: File file_unknown does not exist.",
        ),
        (
            {"resources": [{"type": "github_repository", "url": "https://github.com/a/b"}] * 501},
            400,
            PARSE + "resources: must have at most 500 entries",
        ),
        ({"metadata": {str(number): "v" for number in range(17)}}, 400, "metadata: at most 16 pairs are allowed"),
        (
            {"schedule": {"type": "cron", "expression": "0 9 * * *"}},
            400,
            PARSE + "schedule.timezone: field is required",
        ),
        ({"schedule": HOURLY | {"type": "every"}}, 400, PARSE + 'schedule.type: "every" is not a valid value'),
        (
            {"schedule": HOURLY | {"expression": "0 0 9 * * *"}},
            400,
            "schedule.expression: a cron expression has 5 fields",
        ),
        ({"schedule": HOURLY | {"expression": "@daily"}}, 400, "schedule.expression: cron shortcuts"),
        ({"schedule": HOURLY | {"timezone": "CEST5"}}, 400, "schedule.timezone: 'CEST5' is not a time zone"),
        ({"budget": _budget("0")}, 400, PARSE + "budget.max_list_cost.amount:"),
        ({"paused": True}, 400, PARSE + "paused: unknown field"),
    ],
)
async def test_wrong_fields_are_refused(served: Served, fields: dict[str, Any], status: int, message: str) -> None:
    body = {"name": "nightly", "initial_events": [HELLO], **(await ground(served)), **fields}
    answer = await served.call("POST", "/v1/deployments", body)
    assert answer.error[0] == status
    assert answer.error[1] == ("invalid_request_error" if status == 400 else "not_found_error")
    assert message in answer.error[2]
    assert await listed(served, "/v1/deployments") == []


@pytest.mark.parametrize("field", ["name", "agent", "environment_id", "initial_events"])
async def test_what_a_deployment_needs_cannot_be_cleared(served: Served, field: str) -> None:
    made = await make(served)
    answer = await served.call("POST", f"/v1/deployments/{made['id']}", {field: None})
    assert answer.error[:2] == (400, "invalid_request_error")
    assert answer.error[2].startswith(PARSE + field)


async def test_archived_parts_are_refused(served: Served) -> None:
    given = await ground(served)
    await served.call("POST", f"/v1/agents/{given['agent']}/archive")
    body = {"name": "n", "initial_events": [HELLO], **given}
    refused = await served.call("POST", "/v1/deployments", body)
    assert refused.error[0] == 400
    assert "is archived" in refused.error[2]
    other = await ground(served)
    await served.call("POST", f"/v1/environments/{other['environment_id']}/archive")
    refused = await served.call("POST", "/v1/deployments", {"name": "n", "initial_events": [HELLO], **other})
    assert refused.error[0] == 400
    assert "is archived" in refused.error[2]


async def test_an_update_to_what_cannot_take_the_resources_it_keeps_is_refused(served: Served) -> None:
    made = await make(served, resources=[{"type": "github_repository", "url": "https://github.com/a/b"}])
    hosted = await served.call("POST", "/v1/environments", {"name": made["id"], "config": {"type": "self_hosted"}})
    path, moved = f"/v1/deployments/{made['id']}", {"environment_id": hosted.body["id"]}
    refused = await served.call("POST", path, moved)
    assert refused.error[:2] == (400, "invalid_request_error")
    assert "is self-hosted" in refused.error[2]
    assert (await served.call("GET", path)).body == made
    assert (await served.call("POST", path, {"resources": [], **moved})).status == 200


async def test_system_messages_need_a_model_that_takes_them(served: Served) -> None:
    given = await ground(served)
    agent = (await served.call("POST", "/v1/agents", {"name": "a", "model": "claude-sonnet-5"})).body["id"]
    events = [HELLO, {"type": "system.message", "content": [{"type": "text", "text": "s"}]}]
    refused = await served.call(
        "POST", "/v1/deployments", {"name": "n", **given, "agent": agent, "initial_events": events}
    )
    text = "Invalid system.message event at initial_events[1]: model_does_not_support_mid_conversation_system"
    assert (refused.error[0], refused.error[2][: len(text)]) == (400, text)
    made = await make(served, **given, initial_events=events)
    path = f"/v1/deployments/{made['id']}"
    assert (await served.call("POST", path, {"agent": agent})).error[0] == 400
    changed = await served.call("POST", path, {"agent": agent, "initial_events": [HELLO]})
    assert changed.status == 200
    assert (await served.call("POST", path, {"initial_events": events})).error[0] == 400


async def test_an_archived_deployment_can_only_be_read(served: Served) -> None:
    made = await make(served, schedule=HOURLY)
    path = f"/v1/deployments/{made['id']}"
    await served.call("POST", f"{path}/pause")
    archived = (await served.call("POST", f"{path}/archive")).body
    assert (archived["status"], archived["paused_reason"]) == ("active", None)
    for action, body in (("", {"name": "x"}), ("/pause", None), ("/unpause", None)):
        answer = await served.call("POST", path + action, body)
        assert answer.error == (400, "invalid_request_error", "Cannot modify archived deployment")
    run = await served.call("POST", f"{path}/run")
    assert run.error == (400, "invalid_request_error", "Cannot run archived deployment")
    assert (await served.call("GET", path)).body == archived


async def test_what_another_workspace_has_is_not_there(served: Served) -> None:
    made = await make(served)
    run = (await served.call("POST", f"/v1/deployments/{made['id']}/run")).body
    _, key = await served.new_workspace()
    other = {"x-api-key": key}
    path = f"/v1/deployments/{made['id']}"
    for method, route in (
        ("GET", path), ("POST", path), ("POST", f"{path}/pause"), ("POST", f"{path}/unpause"),
        ("POST", f"{path}/archive"), ("POST", f"{path}/run"),
    ):  # fmt: skip
        answer = await served.call(method, route, {"name": "x"} if route == path else None, headers=other)
        assert answer.error == (404, "not_found_error", "Deployment not found.")
    answer = await served.call("GET", f"/v1/deployment_runs/{run['id']}", headers=other)
    assert answer.error == (404, "not_found_error", "Deployment run not found.")
    for route in ("/v1/deployments", "/v1/deployment_runs", f"/v1/deployment_runs?deployment_id={made['id']}"):
        assert (await served.call("GET", route, headers=other)).body["data"] == []


async def test_malformed_ids_are_refused(served: Served) -> None:
    assert (await served.call("GET", "/v1/deployments/x")).error == (
        400, "invalid_request_error", "Invalid deployment ID.",
    )  # fmt: skip
    assert (await served.call("GET", "/v1/deployment_runs/x")).error == (
        400, "invalid_request_error", "Invalid deployment run ID.",
    )  # fmt: skip


async def test_lists_filter_by_agent_status_and_archive(served: Served) -> None:
    first = await make(served, schedule=HOURLY)
    second = await make(served)
    third = await make(served, agent=first["agent"]["id"], environment_id=first["environment_id"])
    await served.call("POST", f"/v1/deployments/{second['id']}/pause")
    await served.call("POST", f"/v1/deployments/{third['id']}/archive")

    async def names(query: str) -> list[str]:
        return [found["id"] for found in await listed(served, f"/v1/deployments{query}")]

    assert await names("") == [second["id"], first["id"]]
    assert await names("?include_archived=true") == [third["id"], second["id"], first["id"]]
    assert await names("?status=paused") == [second["id"]]
    assert await names("?status=active") == [first["id"]]
    assert await names(f"?agent_id={first['agent']['id']}&include_archived=true") == [third["id"], first["id"]]
    assert await names("?agent_id=agent_unknown") == []
    assert await names(f"?created_at[gte]={second['created_at']}") == [second["id"]]
    assert await names(f"?created_at[lte]={first['created_at']}") == [first["id"]]
    page = (await served.call("GET", "/v1/deployments?limit=1")).body
    assert [found["id"] for found in page["data"]] == [second["id"]]
    assert await names(f"?limit=1&page={page['next_page']}") == [first["id"]]
    shown = await served.call("GET", f"/v1/deployments/{first['id']}")
    assert (await listed(served, "/v1/deployments?status=active"))[0] == shown.body


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("/v1/deployments?status=archived", 'status: "archived" is not a valid value'),
        ("/v1/deployments?status=paused&include_archived=true", "status: cannot be combined with include_archived"),
        ("/v1/deployments?agent_id=x", "Invalid agent ID."),
        ("/v1/deployments?limit=101", "limit: must be between 1 and 100"),
        ("/v1/deployments?page=x", "page"),
        ("/v1/deployment_runs?limit=1001", "limit: must be between 1 and 1000"),
        ("/v1/deployment_runs?trigger_type=x", 'trigger_type: "x" is not a valid value'),
        ("/v1/deployment_runs?has_error=x", 'has_error: "x" is not a valid boolean'),
    ],
)
async def test_wrong_queries_are_refused(served: Served, query: str, message: str) -> None:
    answer = await served.call("GET", query)
    assert answer.error[:2] == (400, "invalid_request_error")
    assert message in answer.error[2]


async def test_runs_say_why_there_is_no_session_and_can_be_filtered(served: Served) -> None:
    made = await make(served)
    path = f"/v1/deployments/{made['id']}"
    good = (await served.call("POST", f"{path}/run")).body
    await served.call("POST", f"/v1/environments/{made['environment_id']}/archive")
    bad = (await served.call("POST", f"{path}/run")).body
    assert (bad["session_id"], bad["error"]["type"]) == (None, "environment_archived_error")
    assert made["environment_id"] in bad["error"]["message"]
    assert (await served.call("GET", path)).body["status"] == "active", "a run that was asked for pauses nothing"

    async def names(query: str) -> list[str]:
        return [found["id"] for found in await listed(served, f"/v1/deployment_runs{query}")]

    assert await names("") == [bad["id"], good["id"]]
    assert await names("?has_error=true") == [bad["id"]]
    assert await names("?has_error=false") == [good["id"]]
    assert await names("?trigger_type=manual") == [bad["id"], good["id"]]
    assert await names("?trigger_type=schedule") == []
    assert await names(f"?deployment_id={made['id']}&limit=1000") == [bad["id"], good["id"]]
    assert await names("?deployment_id=depl_unknown") == []
    assert await names("?deployment_id=whatever") == []


async def test_requests_with_one_idempotency_key_start_one_run(served: Served) -> None:
    made, other = await make(served), await make(served)

    async def run(deployment: dict[str, Any], key: str | None) -> Answer:
        return await served.call("POST", f"/v1/deployments/{deployment['id']}/run", headers={"Idempotency-Key": key})

    answers = await asyncio.gather(*(run(made, "one") for _ in range(5)))
    assert [answer.status for answer in answers] == [200] * 5
    assert all(answer.body == answers[0].body for answer in answers)
    ids = [(await run(*asked)).body["id"] for asked in ((made, "two"), (other, "one"), (made, None), (made, None))]
    assert len({answers[0].body["id"], *ids}) == 5
    assert len(await listed(served, f"/v1/deployment_runs?deployment_id={made['id']}")) == 4
    assert len(await listed(served, f"/v1/sessions?deployment_id={made['id']}")) == 4
    assert (await run(made, "x" * 255)).status == 200
    assert (await run(made, "x" * 256)).error == (
        400,
        "invalid_request_error",
        "Idempotency-Key: must be 1 to 255 characters long",
    )
    assert (await served.call("POST", f"/v1/deployments/{made['id']}/archive")).status == 200
    again = await run(made, "one")
    assert (again.status, again.body) == (200, answers[0].body), "the answer was lost, not the run"
    assert (await run(made, "new")).status == 400


async def test_a_run_that_a_crash_cut_short_is_finished_by_the_next_request_with_its_key(served: Served) -> None:
    made = await make(served)
    deployment_id = DeploymentId(made["id"])
    agent = AgentReference(id=AgentId(made["agent"]["id"]), version=1)
    begun = StartRun(run_of_key(deployment_id, "key"), deployment_id, agent, ManualTrigger())
    await DEPLOYMENT_RUNS.change(inside(served).aggregates, Actor(served.workspace_id), begun.id, begun)
    answer = await served.call("POST", f"/v1/deployments/{made['id']}/run", headers={"Idempotency-Key": "key"})
    assert (answer.status, answer.body["id"]) == (200, begun.id)
    (session,) = await listed(served, f"/v1/sessions?deployment_id={made['id']}")
    assert answer.body["session_id"] == session["id"]


async def test_a_run_that_has_not_come_to_anything_yet_is_not_shown(served: Served) -> None:
    made = await make(served, schedule=HOURLY)
    aggregates = inside(served).aggregates
    run_id = run_of_slot(DeploymentId(made["id"]), datetime(2026, 1, 1, tzinfo=UTC))
    agent = AgentReference(id=AgentId(made["agent"]["id"]), version=1)
    trigger = ScheduleTrigger(scheduled_at=Timestamp("2026-01-01T00:00:00.000000Z"))
    actor = Actor(served.workspace_id)
    await DEPLOYMENT_RUNS.change(aggregates, actor, run_id, StartRun(run_id, DeploymentId(made["id"]), agent, trigger))
    assert await listed(served, "/v1/deployment_runs") == []
    assert (await served.call("GET", f"/v1/deployment_runs/{run_id}")).status == 404
    assert (await served.call("GET", f"/v1/deployments/{made['id']}")).body["schedule"]["last_run_at"] is None
    await DEPLOYMENT_RUNS.change(aggregates, actor, run_id, FinishRun(SessionId("sesn_a")))
    (run,) = await listed(served, "/v1/deployment_runs?trigger_type=schedule")
    assert run["trigger_context"] == {"type": "schedule", "scheduled_at": "2026-01-01T00:00:00.000000Z"}
    shown = (await served.call("GET", f"/v1/deployments/{made['id']}")).body
    assert shown["schedule"]["last_run_at"] == run["created_at"]
    await served.call("POST", f"/v1/deployments/{made['id']}/run")
    assert (await served.call("GET", f"/v1/deployments/{made['id']}")).body["schedule"] == shown["schedule"]


async def test_upcoming_runs_follow_the_clock_and_the_zone(nats_address: ServerAddress, tmp_path: Path) -> None:
    clock = FakeClock(now_us=int(to_datetime(Timestamp("2026-10-24T22:30:00.000000Z")).timestamp() * 1_000_000))
    async with serve(nats_address, tmp_path / "data", clock=clock) as served:
        made = await make(served, schedule=HOURLY | {"expression": "30 2 * * *"})
        path = f"/v1/deployments/{made['id']}"
        assert made["schedule"]["upcoming_runs_at"] == [
            f"2026-10-{day}:30:00.000000Z" for day in ("25T00", "25T01", "26T01", "27T01", "28T01")
        ]
        clock.advance(2 * 3_600)
        paused = (await served.call("POST", f"{path}/pause")).body
        assert paused["schedule"]["upcoming_runs_at"][0] == "2026-10-25T01:30:00.000000Z"
        (found,) = await listed(served, "/v1/deployments")
        assert found == paused
        archived = (await served.call("POST", f"{path}/archive")).body
        assert archived["schedule"]["upcoming_runs_at"] == []


async def scheduled_now(served: Served) -> int:
    facts, _ = await inside(served).control.set_facts(SetQuestion(DEPLOYMENT, ORGANIZATION, "", None))
    return facts.members


async def test_schedules_made_at_the_same_time_through_two_gateways_keep_the_limit(
    nats_address: ServerAddress, tmp_path: Path
) -> None:
    async with serve(nats_address, tmp_path / "other") as other:
        most = await scheduled_now(other) + 3
    async with (
        serve(nats_address, tmp_path / "one", scheduled_deployments_max=most) as one,
        serve(nats_address, tmp_path / "two", scheduled_deployments_max=most) as two,
    ):
        manual = await make(one)
        calls = [one.call("POST", f"/v1/deployments/{manual['id']}", {"schedule": HOURLY})]
        for served in (one, two):  # each has a workspace of its own
            body = {"name": "n", "initial_events": [HELLO], "schedule": HOURLY, **await ground(served)}
            calls += [served.call("POST", "/v1/deployments", body) for _ in range(3)]
        answers = await asyncio.gather(*calls)
        assert {answer.status for answer in answers} == {200, 400}
        assert await scheduled_now(one) == await scheduled_now(two) == most


async def test_one_schedule_more_than_the_limit_is_refused(nats_address: ServerAddress, tmp_path: Path) -> None:
    async with serve(nats_address, tmp_path / "data") as other:
        scheduled = await scheduled_now(other)
    async with serve(nats_address, tmp_path / "data", scheduled_deployments_max=scheduled + 2) as served:
        text = f"schedule: at most {scheduled + 2} deployments of an organization may have a schedule"
        given = await ground(served)
        first = await make(served, schedule=HOURLY, **given)
        await make(served, schedule=HOURLY, **given)
        manual = await make(served, **given)
        body = {"name": "n", "initial_events": [HELLO], "schedule": HOURLY, **given}
        assert (await served.call("POST", "/v1/deployments", body)).error == (400, "invalid_request_error", text)
        path = f"/v1/deployments/{manual['id']}"
        assert (await served.call("POST", path, {"schedule": HOURLY})).error == (400, "invalid_request_error", text)
        changed = await served.call(
            "POST", f"/v1/deployments/{first['id']}", {"schedule": HOURLY | {"timezone": "UTC"}}
        )
        assert changed.status == 200
        await served.call("POST", f"/v1/deployments/{first['id']}/archive")
        assert (await served.call("POST", path, {"schedule": HOURLY})).status == 200


async def test_tokens_of_repositories_are_used_and_never_shown(served: Served) -> None:
    repository = {"type": "github_repository", "url": "https://github.com/a/b", "authorization_token": TOKEN}
    made = await make(served, resources=[repository, {"type": "github_repository", "url": "https://github.com/a/c"}])
    assert made["resources"] == [
        {"type": "github_repository", "url": f"https://github.com/a/{name}", "mount_path": None, "checkout": None}
        for name in "bc"
    ]
    run = (await served.call("POST", f"/v1/deployments/{made['id']}/run")).body
    assert run["error"] is None, run
    session = (await served.call("GET", f"/v1/sessions/{run['session_id']}")).body
    assert [resource["url"] for resource in session["resources"]] == [
        "https://github.com/a/b", "https://github.com/a/c",
    ]  # fmt: skip
    cleared = await served.call("POST", f"/v1/deployments/{made['id']}", {"resources": None})
    assert cleared.body["resources"] == []
    async for raw in served.control_log.read("control.>"):
        assert TOKEN.encode() not in raw.payload


async def test_changes_at_the_same_time_all_happen(served: Served) -> None:
    made = await make(served)
    path = f"/v1/deployments/{made['id']}"
    answers = await asyncio.gather(
        *(served.call("POST", path, {"metadata": {f"k{number}": "v"}}) for number in range(8)),
        served.call("POST", f"{path}/pause"),
    )
    assert {answer.status for answer in answers} == {200}
    now = (await served.call("GET", path)).body
    assert len(now["metadata"]) == 8
    assert now["status"] == "paused"
