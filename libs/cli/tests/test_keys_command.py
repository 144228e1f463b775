"""``efferent keys`` and ``efferent workspaces`` against a real nats-server: what they record, print and refuse."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from efferent.common import api_keys, environment_keys
from efferent.common.api_keys import DEFAULT_WORKSPACE_ID, ApiKey
from efferent.common.control.kinds import subject_of
from efferent.common.domain.control.aggregate import Change
from efferent.common.domain.control.environment import ENVIRONMENT
from efferent.common.domain.ids import EnvironmentId, from_seed
from efferent.common.domain.resources.environment import CloudConfig, Environment, SelfHostedConfig
from efferent.common.domain.timestamp import Timestamp
from efferent.common.jetstream.control_log import JetStreamControlLog
from efferent.common.runtime.clock import RandomSeeds
from efferent.common.runtime.nats_server import ServerSpec
from libs.cli.tests.command_rig import environ_of, run, serving, with_log

NOW = Timestamp("2026-11-21T10:00:00.000000Z")
Printed = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerSpec]:
    with serving(tmp_path_factory.mktemp("nats")) as spec:
        yield spec


@pytest.fixture(autouse=True)
def commands_find_the_log(nats: ServerSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in environ_of(nats, tmp_path).items():
        monkeypatch.setenv(name, value)
    with_log(lambda log: log.last_sequence())  # makes the streams


def recorded(key: str) -> ApiKey:
    return with_log(lambda log: api_keys.load_key(log, api_keys.key_id(key)))


def make_environment(*, self_hosted: bool = True, archived: bool = False) -> EnvironmentId:
    """An environment in the default workspace."""
    environment = Environment(
        id=EnvironmentId(from_seed("env_", RandomSeeds().seed())),
        name="here",
        config=SelfHostedConfig() if self_hosted else CloudConfig(),
        created_at=NOW,
        updated_at=NOW,
        archived_at=NOW if archived else None,
    )
    payload = ENVIRONMENT.encode(Change("created", environment), at=NOW, workspace_id=DEFAULT_WORKSPACE_ID, actor=None)

    async def write(log: JetStreamControlLog) -> int:
        return await log.append(subject_of(ENVIRONMENT, DEFAULT_WORKSPACE_ID, environment.id), payload, expected=0)

    with_log(write)
    return environment.id


def test_a_created_key_is_alone_on_standard_output_and_known_by_its_hash(capsys: Printed) -> None:
    code, key, told = run(capsys, "keys", "create", "--name", "the build")
    assert code == 0
    known = recorded(key)
    assert (known.name, known.workspace_id, known.expires_at) == ("the build", DEFAULT_WORKSPACE_ID, None)
    assert known.id in told
    assert key not in told


def test_a_key_is_made_in_the_workspace_that_was_asked_for(capsys: Printed) -> None:
    _, workspace_id, told = run(capsys, "workspaces", "create", f"team {RandomSeeds().seed()}")
    assert f"--workspace {workspace_id}" in told
    _, key, _ = run(capsys, "keys", "create", "--workspace", workspace_id, "--expires-in-days", "30")
    known = recorded(key)
    assert known.workspace_id == workspace_id
    assert known.expires_at is not None


def test_a_workspace_that_is_unknown_or_archived_takes_no_key(capsys: Printed) -> None:
    code, _, told = run(capsys, "keys", "create", "--workspace", "wrkspc_unknown")
    assert (code, "there is no workspace wrkspc_unknown" in told) == (2, True)
    _, workspace_id, _ = run(capsys, "workspaces", "create", f"gone {RandomSeeds().seed()}")
    assert run(capsys, "workspaces", "archive", workspace_id)[0] == 0
    code, _, told = run(capsys, "keys", "create", "--workspace", workspace_id)
    assert (code, "is archived" in told) == (2, True)


@pytest.mark.parametrize("days", ["0", "36501"])
def test_an_expiry_out_of_range_is_refused(capsys: Printed, days: str) -> None:
    code, _, told = run(capsys, "keys", "create", "--expires-in-days", days)
    assert (code, "--expires-in-days: must be from 1 to 36500" in told) == (2, True)


def test_an_environment_key_is_printed_once_and_names_its_environment(capsys: Printed) -> None:
    environment_id = make_environment()
    code, key, _ = run(capsys, "keys", "create", "--environment", environment_id)
    assert code == 0
    assert key.startswith("sk-ant-oat01-")
    known = recorded(key)
    assert (known.environment_id, known.workspace_id) == (environment_id, DEFAULT_WORKSPACE_ID)
    _, listed, _ = run(capsys, "keys", "list", "--environment", environment_id, "--json")
    assert [row["id"] for row in json.loads(listed)] == [known.id]


def test_an_environment_that_takes_no_key_says_why(capsys: Printed) -> None:
    assert "there is no environment env_unknown" in run(capsys, "keys", "create", "--environment", "env_unknown")[2]
    cloud = make_environment(self_hosted=False)
    assert "not self-hosted" in run(capsys, "keys", "create", "--environment", cloud)[2]
    archived = make_environment(archived=True)
    assert "is archived" in run(capsys, "keys", "create", "--environment", archived)[2]
    mine = make_environment()
    other = run(capsys, "keys", "create", "--environment", mine, "--workspace", "wrkspc_other")
    assert (other[0], "there is no environment" in other[2]) == (2, True)


def test_one_key_more_than_an_environment_may_have_is_refused(capsys: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment_keys, "KEYS_MAX", 2)
    environment_id = make_environment()
    keys = [run(capsys, "keys", "create", "--environment", environment_id)[1] for _ in range(2)]
    code, _, told = run(capsys, "keys", "create", "--environment", environment_id)
    assert (code, "at most 2 keys" in told) == (2, True)
    run(capsys, "keys", "revoke", api_keys.key_id(keys[0]))
    assert run(capsys, "keys", "create", "--environment", environment_id)[0] == 0


def test_a_list_shows_valid_keys_and_all_only_when_asked_and_never_a_hash(capsys: Printed) -> None:
    _, key, _ = run(capsys, "keys", "create", "--name", "short\x1b[31mlived")
    known = recorded(key)
    _, table, _ = run(capsys, "keys", "list")
    assert known.id in table
    assert "short?[31mlived" in table
    assert known.hash not in run(capsys, "keys", "list", "--all", "--json")[1]
    code, _, told = run(capsys, "keys", "revoke", known.id)
    assert (code, "is revoked since" in told) == (0, True)
    assert known.id not in run(capsys, "keys", "list")[1]
    rows = {row["id"]: row for row in json.loads(run(capsys, "keys", "list", "--all", "--json")[1])}
    assert rows[known.id]["state"] == "revoked"


def test_revoking_the_key_of_the_data_folder_makes_the_next_start_make_another(capsys: Printed, tmp_path: Path) -> None:
    _, key, _ = run(capsys, "keys", "create")
    (tmp_path / "api_key").write_text(key + "\n")
    _, other, _ = run(capsys, "keys", "create")
    run(capsys, "keys", "revoke", api_keys.key_id(other))
    assert (tmp_path / "api_key").exists()
    _, _, told = run(capsys, "keys", "revoke", api_keys.key_id(key))
    assert "the next start makes another" in told
    assert not (tmp_path / "api_key").exists()


def test_an_unknown_key_cannot_be_revoked(capsys: Printed) -> None:
    code, _, told = run(capsys, "keys", "revoke", "apikey_unknown")
    assert (code, "there is no key apikey_unknown" in told) == (2, True)


def test_workspaces_are_listed_with_the_default_one_first(capsys: Printed) -> None:
    name = f"team {RandomSeeds().seed()}"
    _, workspace_id, _ = run(capsys, "workspaces", "create", name)
    rows = json.loads(run(capsys, "workspaces", "list", "--json")[1])
    assert rows[0]["id"] == DEFAULT_WORKSPACE_ID
    assert {"id": workspace_id, "name": name} in [{"id": row["id"], "name": row["name"]} for row in rows]
    assert name in run(capsys, "workspaces", "list")[1]
    code, _, told = run(capsys, "workspaces", "create", name)
    assert (code, "exists already" in told) == (2, True)
    code, _, told = run(capsys, "workspaces", "archive", DEFAULT_WORKSPACE_ID)
    assert (code, "cannot be archived" in told) == (2, True)
    code, _, told = run(capsys, "workspaces", "archive", "wrkspc_unknown")
    assert (code, "there is no workspace wrkspc_unknown" in told) == (2, True)


def test_a_log_that_does_not_answer_is_named(capsys: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATS_URL", "nats://127.0.0.1:1")
    monkeypatch.setattr("efferent.cli.log_access.CONNECT_WITHIN_S", 0.2)
    for command in (("keys", "list"), ("workspaces", "list")):
        code, _, told = run(capsys, *command)
        assert (code, "is the server running?" in told) == (2, True)
