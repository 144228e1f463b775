"""``/v1/environments`` with the official client and without: configs, unique names, archive, delete, lists."""

import asyncio
from typing import Any

import orjson
import pytest

from services.gateway.tests.gateway_rig import Served

PARSE = "Failed to parse request: "
LIMITED: dict[str, Any] = {"type": "limited"}
PACKAGES: dict[str, Any] = {"type": "packages", "apt": [], "cargo": [], "gem": [], "go": [], "npm": [], "pip": []}
CLOUD = {"type": "cloud", "networking": {"type": "unrestricted"}, "packages": PACKAGES}


async def make(served: Served, name: str = "env", **fields: Any) -> dict[str, Any]:
    """A new environment."""
    answer = await served.call("POST", "/v1/environments", {"name": name} | fields)
    assert answer.status == 200, answer.body
    body: dict[str, Any] = answer.body
    return body


def cloud(**fields: Any) -> dict[str, Any]:
    """A cloud config."""
    return {"type": "cloud"} | fields


async def test_a_new_environment_has_every_field_with_its_default(served: Served) -> None:
    made = await make(served)
    assert made.pop("id").startswith("env_")
    assert made.pop("created_at") == made.pop("updated_at")
    assert made == {
        "type": "environment",
        "name": "env",
        "description": None,
        "config": CLOUD,
        "metadata": {},
        "scope": "organization",
        "archived_at": None,
    }


async def test_the_official_client_does_all_six_things(served: Served) -> None:
    environments = served.sdk().beta.environments
    made = await environments.create(
        name="env",
        description="d",
        metadata={"a": "1"},
        config={
            "type": "cloud",
            "networking": {"type": "limited", "allowed_hosts": ["*.Example.com"], "allow_package_managers": True},
            "packages": {"type": "packages", "pip": ["requests==2.32.0"]},
        },
    )
    assert await environments.retrieve(made.id) == made
    changed = await environments.update(made.id, description="other")
    assert (changed.description, changed.config) == ("other", made.config)
    assert [environment.id async for environment in environments.list()] == [made.id]
    assert (await environments.archive(made.id)).archived_at is not None
    deleted = await environments.delete(made.id)
    assert (deleted.id, deleted.type) == (made.id, "environment_deleted")


async def test_networking_and_packages_are_echoed_with_every_field(served: Served) -> None:
    config = cloud(
        networking=LIMITED | {"allowed_hosts": ["a.com", "*.B.org"], "allow_package_managers": True},
        packages={"pip": ["x==1", "y[z]>=2 ; python_version > '3'"], "npm": ["@scope/name@1"]},
    )
    made = await make(served, config=config)
    assert made["config"] == {
        "type": "cloud",
        "networking": {
            "type": "limited",
            "allowed_hosts": ["a.com", "*.B.org"],
            "allow_mcp_servers": False,
            "allow_package_managers": True,
        },
        "packages": PACKAGES | {"pip": ["x==1", "y[z]>=2 ; python_version > '3'"], "npm": ["@scope/name@1"]},
    }
    assert (await make(served, "own", config={"type": "self_hosted"}))["config"] == {"type": "self_hosted"}
    assert (await make(served, "null", config=None))["config"] == CLOUD


async def test_an_update_keeps_what_it_does_not_mention_inside_the_config_too(served: Served) -> None:
    limited = LIMITED | {"allowed_hosts": ["a.com"], "allow_package_managers": True}
    made = await make(served, config=cloud(networking=limited, packages={"pip": ["x"]}), metadata={"a": "1", "b": "2"})
    path = f"/v1/environments/{made['id']}"

    async def update(**patch: Any) -> dict[str, Any]:
        body: dict[str, Any] = (await served.call("POST", path, patch)).body
        return body

    assert (await update(config=cloud()))["config"] == made["config"]
    changed = await update(config=cloud(networking=LIMITED | {"allow_mcp_servers": True}))
    assert changed["config"]["networking"] == made["config"]["networking"] | {"allow_mcp_servers": True}
    assert changed["config"]["packages"]["pip"] == ["x"]
    assert (await update(config=cloud(packages={"npm": ["y"]})))["config"]["packages"] == PACKAGES | {"npm": ["y"]}
    assert (await update(description=""))["description"] == ""
    assert (await update(description=None))["description"] is None
    assert (await update(metadata={"a": "", "b": None, "c": "3"}))["metadata"] == {"c": "3"}
    assert (await update(name="other", scope="organization"))["name"] == "other"
    unrestricted = await update(config=cloud(networking={"type": "unrestricted"}))
    assert unrestricted["config"]["networking"] == {"type": "unrestricted"}


async def test_an_update_that_changes_nothing_records_nothing(served: Served) -> None:
    made = await make(served)
    before = await served.control_log.last_sequence()
    for patch in ({}, {"name": "env"}, {"config": CLOUD}, {"config": None, "name": None, "metadata": {"x": None}}):
        answer = await served.call("POST", f"/v1/environments/{made['id']}", patch)
        assert answer.body == made
    assert await served.control_log.last_sequence() == before


async def test_a_taken_name_is_a_final_conflict_that_names_who_has_it(served: Served) -> None:
    first = await make(served, "shared")
    second = await make(served, "other")
    text = f'An environment named "shared" already exists: {first["id"]}'
    created = await served.call("POST", "/v1/environments", {"name": "shared"})
    renamed = await served.call("POST", f"/v1/environments/{second['id']}", {"name": "shared"})
    for answer in (created, renamed):
        assert answer.error == (409, "conflict_error", text)
        assert answer.headers["x-should-retry"] == "false"
    assert (await served.call("GET", f"/v1/environments/{second['id']}")).body == second


async def test_a_name_is_free_again_after_archive_delete_or_rename(served: Served) -> None:
    archived = await make(served, "name")
    await served.call("POST", f"/v1/environments/{archived['id']}/archive")
    deleted = await make(served, "name")
    await served.call("DELETE", f"/v1/environments/{deleted['id']}")
    renamed = await make(served, "name")
    await served.call("POST", f"/v1/environments/{renamed['id']}", {"name": "moved"})
    await make(served, "name")


async def test_another_workspace_may_use_the_same_name_and_sees_nothing(served: Served) -> None:
    made = await make(served, "shared")
    _, key = await served.new_workspace()
    other = {"x-api-key": key}
    path = f"/v1/environments/{made['id']}"
    assert (await served.call("POST", "/v1/environments", {"name": "shared"}, headers=other)).status == 200
    for method, suffix, body in (("GET", "", None), ("POST", "", {}), ("POST", "/archive", None), ("DELETE", "", None)):
        answer = await served.call(method, path + suffix, body, headers=other)
        assert answer.error == (404, "not_found_error", "Environment not found.")
    assert (await served.call("GET", path)).body == made


async def test_of_many_creates_with_one_name_at_once_one_wins(served: Served) -> None:
    answers = await asyncio.gather(*(served.call("POST", "/v1/environments", {"name": "raced"}) for _ in range(10)))
    winners = [answer.body["id"] for answer in answers if answer.status == 200]
    assert len(winners) == 1
    for answer in answers:
        if answer.status != 200:
            text = f'An environment named "raced" already exists: {winners[0]}'
            assert answer.error == (409, "conflict_error", text)


async def test_creates_with_different_names_at_once_all_happen(served: Served) -> None:
    answers = await asyncio.gather(
        *(served.call("POST", "/v1/environments", {"name": f"n{index}"}) for index in range(20))
    )
    assert {answer.status for answer in answers} == {200}


async def test_an_archived_environment_is_read_only_and_can_be_deleted(served: Served) -> None:
    made = await make(served)
    path = f"/v1/environments/{made['id']}"
    archived = (await served.call("POST", f"{path}/archive")).body
    assert archived["archived_at"] is not None
    assert (await served.call("POST", f"{path}/archive")).body == archived
    refused = await served.call("POST", path, {"name": "x"})
    assert refused.error == (400, "invalid_request_error", f"Environment {made['id']} is archived.")
    assert refused.body["error"]["details"] == {"error_code": "environment_archived"}
    assert (await served.call("DELETE", path)).body == {"id": made["id"], "type": "environment_deleted"}


async def test_a_deleted_environment_is_gone(served: Served) -> None:
    made = await make(served)
    path = f"/v1/environments/{made['id']}"
    await served.call("DELETE", path)
    for method, suffix in (("GET", ""), ("POST", ""), ("POST", "/archive"), ("DELETE", "")):
        answer = await served.call(method, path + suffix, {} if (method, suffix) == ("POST", "") else None)
        assert answer.error == (404, "not_found_error", "Environment not found.")
        assert answer.body["error"]["details"] == {"error_code": "environment_not_found"}
    assert (await served.call("GET", "/v1/environments?include_archived=true")).body["data"] == []


async def test_a_malformed_id_is_refused(served: Served) -> None:
    answer = await served.call("GET", "/v1/environments/agent_x")
    assert answer.error == (400, "invalid_request_error", "Invalid environment ID.")


async def test_lists_page_newest_first_without_archived_ones(served: Served) -> None:
    made = [(await make(served, f"e{index}"))["id"] for index in range(5)]
    await served.call("POST", f"/v1/environments/{made[2]}/archive")
    seen = [environment.id async for environment in served.sdk().beta.environments.list(limit=2)]
    assert seen == [made[4], made[3], made[1], made[0]]
    every = [item.id async for item in served.sdk().beta.environments.list(limit=2, include_archived=True)]
    assert every == made[::-1]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": ""}, f"{PARSE}name: must be at least 1 character long"),
        ({"name": None}, f"{PARSE}name: must be a string"),
        ({"name": "n" * 257}, f"{PARSE}name: must be at most 256 characters long"),
        ({"description": "d" * 2_049}, f"{PARSE}description: must be at most 2048 characters long"),
        ({"scope": "account"}, 'scope: "account" is not supported for API organizations; expected organization'),
        (
            {"scope": "team"},
            f'{PARSE}scope: "team" is not a valid value; expected one of organization, account',
        ),
        ({"config": {}}, f"{PARSE}config.type: field is required"),
        (
            {"config": {"type": "moon"}},
            f'{PARSE}config.type: "moon" is not a valid value; expected one of cloud, self_hosted',
        ),
        ({"config": {"type": "self_hosted", "packages": {}}}, f"{PARSE}config.packages: unknown field"),
        (
            {"config": cloud(networking={"type": "none"})},
            f'{PARSE}config.networking.type: "none" is not a valid value; expected one of unrestricted, limited',
        ),
        (
            {"config": cloud(networking={"type": "unrestricted", "allowed_hosts": []})},
            f"{PARSE}config.networking.allowed_hosts: unknown field",
        ),
        ({"config": cloud(packages={"brew": []})}, f"{PARSE}config.packages.brew: unknown field"),
        ({"config": cloud(packages={"pip": ["a", 1]})}, f"{PARSE}config.packages.pip[1]: must be a string"),
        ({"config": cloud(packages={"pip": ["a", ""]})}, "config.packages.pip.1: not the name of a package"),
        ({"config": cloud(packages={"apt": ["--allow-all"]})}, "config.packages.apt.0: not the name of a package"),
        ({"config": cloud(packages={"npm": ["a\nb"]})}, "config.packages.npm.0: not the name of a package"),
        (
            {"config": cloud(packages={"pip": ["p"] * 1_001})},
            "config.packages.pip: at most 1000 packages are allowed",
        ),
        (
            {"config": cloud(networking=LIMITED, packages={"pip": ["x"]})},
            "config.packages: packages with limited networking require "
            "config.networking.allow_package_managers to be true",
        ),
        (
            {"config": cloud(networking=LIMITED | {"allowed_hosts": ["h.com"] * 1_001})},
            "config.networking.allowed_hosts: at most 1000 hosts are allowed",
        ),
    ],
)
async def test_a_wrong_environment_is_refused_with_the_place(
    served: Served, fields: dict[str, Any], message: str
) -> None:
    answer = await served.call("POST", "/v1/environments", {"name": "env"} | fields)
    assert answer.error == (400, "invalid_request_error", message)


@pytest.mark.parametrize("host", ["https://a.com", "a.com:443", "a.com/x", "*", "*.", "a.*.com", "a b", "-a.com", ""])
async def test_a_host_with_more_than_a_name_is_refused(served: Served, host: str) -> None:
    config = cloud(networking=LIMITED | {"allowed_hosts": ["ok.com", host]})
    answer = await served.call("POST", "/v1/environments", {"name": "env", "config": config})
    place = "config.networking.allowed_hosts.1"
    text = f'{place}: must be a hostname or "*." and a hostname, without scheme, port or path'
    assert answer.error == (400, "invalid_request_error", text)


async def test_metadata_over_its_limits_has_its_own_code(served: Served) -> None:
    at_limit = {f"{n:02}" + "k" * 62: "v" * 512 for n in range(16)}
    made = await make(served, metadata=at_limit)
    for metadata, text in (
        ({"one more": "v"}, "metadata: at most 16 pairs are allowed"),
        ({"k" * 65: "v"}, "metadata: keys must be 1 to 64 characters long"),
        ({"k": "v" * 513}, "metadata.k: must be at most 512 characters long"),
    ):
        answer = await served.call("POST", f"/v1/environments/{made['id']}", {"metadata": metadata})
        assert answer.error == (400, "invalid_request_error", text)
        assert answer.body["error"]["details"] == {"error_code": "invalid_metadata"}


async def test_the_type_of_the_config_cannot_change(served: Served) -> None:
    made = await make(served)
    answer = await served.call("POST", f"/v1/environments/{made['id']}", {"config": {"type": "self_hosted"}})
    assert answer.error == (400, "invalid_request_error", "config.type: cannot be changed")
    assert answer.body["error"]["details"] == {"error_code": "invalid_config_type_change"}


async def test_an_update_is_checked_against_the_config_that_it_would_make(served: Served) -> None:
    limited = LIMITED | {"allow_package_managers": True}
    made = await make(served, config=cloud(networking=limited, packages={"pip": ["x"]}))
    patch = {"config": cloud(networking=LIMITED | {"allow_package_managers": False})}
    answer = await served.call("POST", f"/v1/environments/{made['id']}", patch)
    assert answer.error[:2] == (400, "invalid_request_error")
    assert answer.error[2].startswith("config.packages: packages with limited networking require")


async def test_each_record_names_the_event(served: Served) -> None:
    made = await make(served)
    path = f"/v1/environments/{made['id']}"
    await served.call("POST", path, {"name": "other"})
    await served.call("POST", f"{path}/archive")
    await served.call("DELETE", path)
    subject = f"control.environment.{served.workspace_id}.{made['id']}"
    records = [orjson.loads(raw.payload) async for raw in served.control_log.read(subject)]
    assert [record["type"] for record in records] == [
        "environment.created",
        "environment.updated",
        "environment.archived",
        "environment.deleted",
    ]


async def test_many_made_at_once_wait_for_each_other_instead_of_conflicting(served: Served) -> None:
    made = await asyncio.gather(*(make(served, f"env-{number}") for number in range(40)))
    assert len({environment["id"] for environment in made}) == 40
    metrics = (await served.call("GET", "/metrics")).body.decode()
    assert 'efferent_write_conflicts_total{kind="environment"}' not in metrics
