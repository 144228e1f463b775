"""``/v1/dreams``, with the official client and without. Nobody dreams here: what is made stays pending."""

from typing import Any, Final

import pytest
from anthropic import BadRequestError

from services.gateway.tests.gateway_rig import BETA, Answer, Served

DREAMING: Final = "dreaming-2026-04-21"
PARSE: Final = "Failed to parse request: "


async def call(served: Served, method: str, path: str, body: object = None) -> Answer:
    return await served.call(method, path, body, headers={"anthropic-beta": DREAMING})


async def made(served: Served, path: str, body: object) -> str:
    answer = await served.call("POST", path, body)
    assert answer.status == 200, answer.body
    identifier: str = answer.body["id"]
    return identifier


async def store(served: Served) -> str:
    return await made(served, "/v1/memory_stores", {"name": "notes"})


async def session(served: Served) -> str:
    agent = await made(served, "/v1/agents", {"name": "a", "model": "offline/echo"})
    environment = await made(served, "/v1/environments", {"name": f"of {agent}"})
    return await made(served, "/v1/sessions", {"agent": agent, "environment_id": environment})


def inputs(store_id: str, *session_ids: str) -> list[Any]:
    return [
        {"type": "memory_store", "memory_store_id": store_id},
        {"type": "sessions", "session_ids": list(session_ids)},
    ]


async def body(served: Served, **fields: Any) -> dict[str, Any]:
    """A good body with these fields in it."""
    return {"inputs": inputs(await store(served), await session(served)), "model": "offline/echo"} | fields


async def test_a_new_dream_has_every_field_with_its_default(served: Served) -> None:
    store_id, session_ids = await store(served), [await session(served) for _ in range(2)]
    given = {"inputs": inputs(store_id, *sorted(session_ids, reverse=True)), "model": {"id": "offline/echo"}}
    answer = await call(served, "POST", "/v1/dreams", given)
    dream = answer.body
    assert answer.status == 200
    assert dream.pop("id").startswith("drm_")
    assert dream.pop("created_at").endswith("Z")
    assert dream == {
        "type": "dream",
        "status": "pending",
        "inputs": inputs(store_id, *sorted(session_ids)),
        "model": {"id": "offline/echo", "speed": "standard"},
        "instructions": None,
        "output_behavior": {"type": "create_new"},
        "outputs": [],
        "session_id": None,
        "usage": {
            "input_tokens": 0,
            "output_tokens": 0,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
        },
        "error": None,
        "ended_at": None,
        "archived_at": None,
    }


async def test_the_official_client_lists_cancels_and_archives(served: Served) -> None:
    dreams = served.sdk().beta.dreams
    first = await dreams.create(**await body(served, instructions="x" * 4_096))
    second = await dreams.create(**await body(served))
    assert await dreams.retrieve(first.id) == first
    assert [dream.id async for dream in dreams.list(limit=1)] == [second.id, first.id]
    assert [dream.id async for dream in dreams.list(created_at_gt=first.created_at)] == [second.id]
    with pytest.raises(BadRequestError, match="cannot be archived while its status is pending"):
        await dreams.archive(first.id)
    canceled = await dreams.cancel(first.id)
    assert canceled.status == "canceled"
    assert await dreams.cancel(first.id) == canceled
    assert [dream.id async for dream in dreams.list(statuses=["canceled", "failed"])] == [first.id]
    archived = await dreams.archive(first.id)
    assert archived.archived_at is not None
    assert await dreams.archive(first.id) == archived
    assert [dream.id async for dream in dreams.list()] == [second.id]
    assert [dream.id async for dream in dreams.list(include_archived=True)] == [second.id, first.id]


async def test_only_its_own_beta_value_gives_access(served: Served) -> None:
    for beta in (None, BETA):
        answer = await served.call("GET", "/v1/dreams", headers={"anthropic-beta": beta})
        assert answer.error == (404, "not_found_error", "not found")
    both = await served.call("GET", "/v1/dreams", headers={"anthropic-beta": f"{BETA},{DREAMING}"})
    assert both.status == 200


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"instructions": ""}, PARSE + "instructions: must be at least 1 character long"),
        ({"instructions": "x" * 4_097}, PARSE + "instructions: must be at most 4096 characters long"),
        ({"model": "no/such"}, "model: no provider for model 'no/such'"),
        ({"model": {"id": "offline/echo", "speed": "fast"}}, PARSE + "model"),
        ({"inputs": []}, "inputs: must be exactly one memory_store and exactly one sessions entry"),
        ({"output_behavior": {"type": "other"}}, PARSE + "output_behavior"),
        ({"title": "x"}, PARSE + "title: unknown field"),
    ],
)
async def test_what_is_not_a_dream_is_refused(served: Served, fields: dict[str, Any], message: str) -> None:
    answer = await call(served, "POST", "/v1/dreams", await body(served, **fields))
    assert answer.error[:2] == (400, "invalid_request_error")
    assert message in answer.error[2]


async def test_inputs_are_one_store_and_one_to_a_hundred_distinct_sessions(served: Served) -> None:
    store_id, session_id = await store(served), await session(served)
    refused = {
        "exactly one": [*inputs(store_id, session_id), {"type": "sessions", "session_ids": [session_id]}],
        "1 to 100 session_ids": inputs(store_id),
        "must be distinct": inputs(store_id, session_id, session_id),
        "Invalid session ID.": inputs(store_id, "sesn_"),
        "Invalid memory store ID.": inputs("memstore_", session_id),
    }
    for message, given in refused.items():
        answer = await call(served, "POST", "/v1/dreams", {"inputs": given, "model": "offline/echo"})
        assert answer.error[:2] == (400, "invalid_request_error"), message
        assert message in answer.error[2]
    many = [session_id] * 101
    answer = await call(served, "POST", "/v1/dreams", {"inputs": inputs(store_id, *many), "model": "offline/echo"})
    assert "1 to 100 session_ids" in answer.error[2]


async def test_a_hundred_sessions_are_taken(served: Served) -> None:
    agent = await made(served, "/v1/agents", {"name": "a", "model": "offline/echo"})
    environment = await made(served, "/v1/environments", {"name": f"of {agent}"})
    bodies = {"agent": agent, "environment_id": environment}
    sessions = [await made(served, "/v1/sessions", bodies) for _ in range(101)]
    store_id = await store(served)
    fits = {"inputs": inputs(store_id, *sessions[:100]), "model": "offline/echo"}
    assert (await call(served, "POST", "/v1/dreams", fits)).status == 200
    answer = await call(served, "POST", "/v1/dreams", fits | {"inputs": inputs(store_id, *sessions)})
    assert answer.error[:2] == (400, "invalid_request_error")
    assert "1 to 100 session_ids" in answer.error[2]


async def test_inputs_that_are_not_there_are_refused(served: Served) -> None:
    store_id, session_id = await store(served), await session(served)
    gone = await store(served)
    await served.call("DELETE", f"/v1/memory_stores/{gone}")
    no_session = "sesn_" + "a" * 24
    for given in (inputs(gone, session_id), inputs(store_id, no_session)):
        answer = await call(served, "POST", "/v1/dreams", {"inputs": given, "model": "offline/echo"})
        assert answer.error[:2] == (404, "not_found_error")
    await served.call("POST", f"/v1/memory_stores/{store_id}/archive")
    answer = await call(served, "POST", "/v1/dreams", {"inputs": inputs(store_id, session_id), "model": "offline/echo"})
    assert answer.error == (400, "invalid_request_error", f"Memory store {store_id} is archived.")


async def test_only_one_live_dream_writes_into_a_store(served: Served) -> None:
    store_id, session_id = await store(served), await session(served)
    behavior = {"type": "update_existing", "memory_store_id": store_id}
    given = {"inputs": inputs(store_id, session_id), "model": "offline/echo", "output_behavior": behavior}
    first = await call(served, "POST", "/v1/dreams", given)
    assert first.status == 200
    assert (await call(served, "POST", "/v1/dreams", given)).error[:2] == (409, "conflict_error")
    copying = await call(served, "POST", "/v1/dreams", given | {"output_behavior": {"type": "create_new"}})
    assert copying.status == 200
    await call(served, "POST", f"/v1/dreams/{first.body['id']}/cancel")
    assert (await call(served, "POST", "/v1/dreams", given)).status == 200
    other = {"type": "update_existing", "memory_store_id": await store(served)}
    answer = await call(served, "POST", "/v1/dreams", given | {"output_behavior": other})
    assert answer.error[:2] == (400, "invalid_request_error")
    assert "must be the memory store of the inputs" in answer.error[2]


@pytest.mark.parametrize("action", ["", "/cancel", "/archive"])
async def test_ids_that_are_not_there(served: Served, action: str) -> None:
    method = "POST" if action else "GET"
    unknown = await call(served, method, f"/v1/dreams/drm_{'a' * 24}{action}")
    assert unknown.error == (404, "not_found_error", "Dream not found.")
    malformed = await call(served, method, f"/v1/dreams/nothing{action}")
    assert malformed.error == (400, "invalid_request_error", "Invalid dream ID.")


async def test_an_unknown_status_cannot_be_listed(served: Served) -> None:
    answer = await call(served, "GET", "/v1/dreams?statuses[]=asleep")
    assert answer.error[:2] == (400, "invalid_request_error")
    assert "statuses" in answer.error[2]
