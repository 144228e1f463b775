"""What commands make of a deployment and of a run."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efferent.common.domain.content import TextBlock
from efferent.common.domain.control import deployment_run as runs
from efferent.common.domain.control.deployment import (
    ARCHIVED_TEXT,
    DEPLOYMENT,
    ArchiveDeployment,
    CreateDeployment,
    DeploymentCommand,
    DeploymentFields,
    PauseDeployment,
    UnpauseDeployment,
    UpdateDeployment,
    decide,
)
from efferent.common.domain.control.deployment_run import AbandonRun, FinishRun, RunCommand, StartRun, run_of_slot
from efferent.common.domain.ids import AgentId, DeploymentId, DeploymentRunId, EnvironmentId, SessionId
from efferent.common.domain.refusals import Conflict, InvalidRequest, NotFound, Refused
from efferent.common.domain.resources.deployment import (
    AgentReference,
    CronSchedule,
    Deployment,
    ErrorPause,
    ManualPause,
    MessageEvent,
    PausingError,
    SystemEvent,
)
from efferent.common.domain.resources.deployment_run import DeploymentRun, ManualTrigger, RunError
from efferent.common.domain.timestamp import Timestamp

T0: Final = Timestamp("2026-01-01T00:00:00.000000Z")
T1: Final = Timestamp("2026-01-02T00:00:00.000000Z")
AGENT: Final = AgentReference(id=AgentId("agent_a"), version=2)
HELLO: Final = MessageEvent(content=(TextBlock(text="hello"),))
HOURLY: Final = CronSchedule(expression="0 * * * *", timezone="Europe/Berlin")
BROKEN: Final = ErrorPause(error=PausingError(type="vault_not_found_error"))
CREATE: Final = CreateDeployment(DeploymentId("depl_a"), "nightly", AGENT, EnvironmentId("env_a"), (HELLO,))


def made(fields: DeploymentFields | None = None) -> Deployment:
    change = decide(None, replace(CREATE, fields=fields or DeploymentFields(schedule=HOURLY)), T0)
    assert change is not None
    assert change.deed == "created"
    return change.data


def after(deployment: Deployment, *commands: DeploymentCommand) -> Deployment:
    for command in commands:
        change = decide(deployment, command, T1)
        deployment = change.data if change is not None else deployment
    return deployment


def refusal(current: Deployment | None, command: DeploymentCommand) -> Refused:
    with pytest.raises(Refused) as refused:
        decide(current, command, T1)
    return refused.value


def test_a_new_deployment_is_active_and_due() -> None:
    deployment = made()
    assert (deployment.status, deployment.is_due, deployment.agent) == ("active", True, AGENT)
    assert not made(DeploymentFields()).is_due


def test_an_update_keeps_what_it_does_not_mention_and_clears_what_it_says() -> None:
    deployment = made(DeploymentFields(description="d", schedule=HOURLY, vault_ids=("vlt_a",), metadata={"a": "1"}))
    changed = after(deployment, UpdateDeployment(DeploymentFields(metadata={"b": "2", "a": None})))
    assert changed == deployment.model_copy(update={"metadata": {"b": "2"}, "updated_at": T1})
    cleared = after(deployment, UpdateDeployment(DeploymentFields(description="", schedule=None, vault_ids=())))
    assert (cleared.description, cleared.schedule, cleared.vault_ids) == (None, None, ())


def test_an_update_that_changes_nothing_records_nothing() -> None:
    assert decide(made(), UpdateDeployment(DeploymentFields(name="nightly", schedule=HOURLY)), T1) is None


def test_pausing_and_unpausing_again_changes_nothing() -> None:
    paused = after(made(), PauseDeployment())
    assert (paused.status, paused.paused_reason, paused.is_due) == ("paused", ManualPause(), False)
    assert decide(paused, PauseDeployment(BROKEN), T1) is None
    active = after(paused, UnpauseDeployment())
    assert (active.status, active.paused_reason, active.is_due) == ("active", None, True)
    assert decide(active, UnpauseDeployment(), T1) is None


def test_a_pause_for_an_error_says_which() -> None:
    paused = after(made(), PauseDeployment(BROKEN))
    assert paused.paused_reason == BROKEN


def test_an_archived_deployment_counts_as_active_and_stays_as_it_is() -> None:
    archived = after(made(), PauseDeployment(), ArchiveDeployment())
    assert (archived.status, archived.archived_at, archived.is_due) == ("active", T1, False)
    assert decide(archived, ArchiveDeployment(), T1) is None
    for command in (UpdateDeployment(DeploymentFields(name="x")), PauseDeployment(), UnpauseDeployment()):
        refused = refusal(archived, command)
        assert isinstance(refused, InvalidRequest)
        assert refused.message == ARCHIVED_TEXT


def test_what_is_not_there_cannot_be_changed_and_what_is_there_not_made() -> None:
    assert isinstance(refusal(None, PauseDeployment()), NotFound)
    assert isinstance(refusal(made(), CREATE), Conflict)


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (replace(CREATE, initial_events=()), "initial_events: must have 1 to 50 entries"),
        (replace(CREATE, initial_events=(HELLO,) * 51), "initial_events: must have 1 to 50 entries"),
        (
            replace(CREATE, initial_events=(SystemEvent(content=(TextBlock(text="s"),)),)),
            "initial_events: at least one user.message or user.define_outcome is required",
        ),
        (
            replace(CREATE, fields=DeploymentFields(schedule=CronSchedule(expression="x", timezone="UTC"))),
            "schedule.expression: a cron expression has 5 fields",
        ),
        (
            replace(CREATE, fields=DeploymentFields(schedule=CronSchedule(expression="* * * * *", timezone="Mars"))),
            "schedule.timezone: 'Mars' is not a time zone",
        ),
        (replace(CREATE, fields=DeploymentFields(metadata={"k" * 65: "v"})), "metadata: keys must be"),
    ],
)
def test_wrong_fields_are_refused_by_name(command: CreateDeployment, text: str) -> None:
    refused = refusal(None, command)
    assert isinstance(refused, InvalidRequest)
    assert text in refused.message


COMMANDS: Final = st.sampled_from(
    [
        CREATE,
        UpdateDeployment(DeploymentFields(schedule=None)),
        UpdateDeployment(DeploymentFields(schedule=HOURLY)),
        PauseDeployment(),
        PauseDeployment(BROKEN),
        UnpauseDeployment(),
        ArchiveDeployment(),
    ]
)


@given(st.lists(COMMANDS, max_size=12))
def test_whatever_happens_a_deployment_makes_sense(commands: list[DeploymentCommand]) -> None:
    current: Deployment | None = None
    for command in commands:
        try:
            change = decide(current, command, T1)
        except Refused:
            continue
        if change is None:
            continue
        assert f"deployment.{change.deed}" in {f"deployment.{deed}" for deed in DEPLOYMENT.deeds}
        assert current is None or current.archived_at is None, "an archived one has changed"
        current = change.data
        shown = DEPLOYMENT.shown(current)
        assert (current.paused_reason is not None) == (b'"status":"paused"' in shown)
        assert not (current.archived_at is not None and current.is_due)
        payload = DEPLOYMENT.encode(change, at=T1, workspace_id="wrkspc_a", actor=None)  # type: ignore[arg-type]
        assert DEPLOYMENT.decode(payload).data == current


RUN: Final = StartRun(DeploymentRunId("drun_a"), DeploymentId("depl_a"), AGENT, ManualTrigger())
FAILED: Final = FinishRun(RunError(type="unknown_error", message="m"))
MADE: Final = FinishRun(SessionId("sesn_a"))


@given(st.lists(st.sampled_from([RUN, FAILED, MADE, AbandonRun()]), max_size=8))
def test_a_run_begins_once_and_its_first_outcome_stays(commands: list[RunCommand]) -> None:
    current: DeploymentRun | None = None
    for command in commands:
        try:
            change = runs.decide(current, command, T1)
        except NotFound:
            assert current is None
            continue
        if change is None:
            continue
        assert current is None or not current.is_finished
        current = change.data if change.deed != "deleted" else None
        if current is not None:
            assert (current.session_id is None) or (current.error is None)
            assert current.is_finished == (change.deed in ("succeeded", "failed"))


def test_a_slot_has_one_run_whatever_clock_it_is_written_in() -> None:
    slot = datetime(2026, 1, 1, 12, tzinfo=UTC)
    first = run_of_slot(DeploymentId("depl_a"), slot)
    assert first == run_of_slot(DeploymentId("depl_a"), slot.astimezone())
    assert first != run_of_slot(DeploymentId("depl_b"), slot)
    assert first.startswith("drun_")
