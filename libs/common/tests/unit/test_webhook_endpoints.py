"""Webhook endpoints: decisions, the limit, what is shown, and what an endpoint wants. Pure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efferent.common.domain.control.aggregate import Change, SetFacts
from efferent.common.domain.control.webhook_endpoint import (
    ENDPOINTS_MAX,
    WEBHOOK_ENDPOINT,
    CreateEndpoint,
    DeleteEndpoint,
    DisableEndpoint,
    EndpointCommand,
    ReplaceSecret,
    UpdateEndpoint,
    admit,
    decide,
)
from efferent.common.domain.ids import WorkspaceId
from efferent.common.domain.refusals import Conflict, InvalidRequest, NotFound
from efferent.common.domain.resources.webhook_endpoint import WebhookEndpoint
from efferent.common.domain.sealed import Sealed
from efferent.common.domain.timestamp import Timestamp, from_epoch_us
from efferent.common.domain.webhook_events import ControlFact, WebhookEvent, of_control
from efferent.common.domain.webhook_retries import (
    ATTEMPTS_MAX,
    FAILING_S,
    GIVEN_UP_MAX,
    RETRY_DELAY_MAX_S,
    RETRY_DELAY_MIN_S,
    FailureStreak,
    given_up_again,
    is_sustained,
    retry_delay_s,
)

START_US = 1_760_000_000_000_000
FIRST, SECOND = Sealed(key_id="a", nonce="n", ciphertext="c"), Sealed(key_id="b", nonce="n", ciphertext="c")


def at(second: int) -> Timestamp:
    return from_epoch_us(START_US + second * 1_000_000)


def make(second: int = 0) -> WebhookEndpoint:
    change = decide(
        None, CreateEndpoint("whep_1", "https://a.example", ["agent.created", "agent.created"], FIRST), at(second)
    )
    assert change is not None
    assert change.deed == "created"
    return change.data


def changed(endpoint: WebhookEndpoint, command: EndpointCommand, second: int = 1) -> WebhookEndpoint:
    change = decide(endpoint, command, at(second))
    assert change is not None
    assert change.deed == "updated"
    return change.data


def event(second: int) -> WebhookEvent:
    [made] = of_control(ControlFact("agent.created", at(second), WorkspaceId("wrkspc_1"), "agent_1"), "org")
    return made


def test_a_new_endpoint_is_enabled_and_names_each_type_once() -> None:
    endpoint = make()
    assert (endpoint.state, endpoint.disabled_reason, endpoint.name, endpoint.description) == ("enabled", "", "", "")
    assert endpoint.enabled_events == ("agent.created",)
    with pytest.raises(Conflict):
        decide(endpoint, CreateEndpoint("whep_1", "https://a.example", ["agent.created"], FIRST), at(1))


def test_an_update_changes_what_it_mentions_and_nothing_else() -> None:
    endpoint = make()
    assert decide(endpoint, UpdateEndpoint(), at(1)) is None
    assert decide(endpoint, UpdateEndpoint(name="", url=endpoint.url, state="enabled"), at(1)) is None
    renamed = changed(endpoint, UpdateEndpoint(name="n"))
    assert renamed == endpoint.model_copy(update={"name": "n", "updated_at": at(1)})
    assert changed(endpoint, UpdateEndpoint(enabled_events=["vault.created"])).enabled_events == ("vault.created",)


def test_what_the_platform_disabled_is_enabled_again_without_its_reason() -> None:
    endpoint = make()
    disabled = changed(endpoint, DisableEndpoint("because", endpoint))
    assert (disabled.state, disabled.disabled_reason) == ("disabled", "because")
    assert changed(disabled, UpdateEndpoint(name="n"), 2).disabled_reason == "because"
    assert decide(disabled, UpdateEndpoint(state="disabled"), at(2)) is None
    enabled = changed(disabled, UpdateEndpoint(state="enabled"), 2)
    assert (enabled.state, enabled.disabled_reason, enabled.enabled_since) == ("enabled", "", at(2))


def test_what_a_client_disabled_has_no_reason() -> None:
    disabled = changed(make(), UpdateEndpoint(state="disabled"))
    assert (disabled.state, disabled.disabled_reason) == ("disabled", "")


def test_the_platform_does_not_disable_an_endpoint_that_was_changed_in_between() -> None:
    endpoint = make()
    moved = changed(endpoint, UpdateEndpoint(url="https://b.example"))
    assert decide(moved, DisableEndpoint("because", endpoint), at(2)) is None
    assert (
        decide(changed(endpoint, DisableEndpoint("first", endpoint)), DisableEndpoint("then", endpoint), at(2)) is None
    )


def test_an_endpoint_wants_what_it_asked_for_since_it_was_enabled() -> None:
    endpoint = make(10)
    assert not endpoint.wants(event(9))
    assert endpoint.wants(event(10))
    assert not changed(endpoint, UpdateEndpoint(enabled_events=["vault.created"]), 11).wants(event(12))
    disabled = changed(endpoint, UpdateEndpoint(state="disabled"), 11)
    assert not disabled.wants(event(12))
    enabled = changed(disabled, UpdateEndpoint(state="enabled"), 20)
    assert [enabled.wants(event(second)) for second in (12, 19, 20)] == [False, False, True]


def test_a_missing_endpoint_cannot_be_changed() -> None:
    for command in (UpdateEndpoint(name="n"), ReplaceSecret(SECOND), DisableEndpoint("r", make()), DeleteEndpoint()):
        with pytest.raises(NotFound, match=r"^Webhook endpoint not found\.$"):
            decide(None, command, at(1))


def test_there_are_at_most_32() -> None:
    admit(make(), SetFacts(total=ENDPOINTS_MAX - 1))
    with pytest.raises(InvalidRequest, match="at most 32"):
        admit(make(), SetFacts(total=ENDPOINTS_MAX))


def test_a_secret_is_never_shown() -> None:
    shown = WEBHOOK_ENDPOINT.shown(make())
    assert b"secret" not in shown
    assert b"ciphertext" not in shown
    assert b"enabled_since" not in shown


COMMANDS = st.one_of(
    st.builds(
        UpdateEndpoint,
        name=st.sampled_from(["", "n"]),
        url=st.sampled_from(["https://a.example", "https://b.example"]),
        state=st.sampled_from(["enabled", "disabled"]),
        enabled_events=st.lists(st.sampled_from(["agent.created", "vault.created"]), max_size=2),
    ),
    st.just(ReplaceSecret(SECOND)),
    st.just(DeleteEndpoint()),
    st.just("disable"),
)


@given(st.lists(st.tuples(COMMANDS, st.integers(-3, 3))))
def test_whatever_happens_the_invariants_hold(steps: list[tuple[EndpointCommand | str, int]]) -> None:
    endpoint, second = make(), 0
    for step, moved in steps:
        second += moved  # clocks of machines differ
        command = DisableEndpoint("r", endpoint) if isinstance(step, str) else step
        change: Change[WebhookEndpoint] | None = decide(endpoint, command, at(second))
        if change is None:
            continue
        after = change.data
        if change.deed == "deleted":
            assert after == endpoint
            return
        assert after.updated_at > endpoint.updated_at
        assert after.enabled_events
        assert after.disabled_reason == "" or after.state == "disabled"
        assert after.enabled_since <= after.updated_at
        endpoint = after


@given(st.text(min_size=1, max_size=30), st.integers(1, ATTEMPTS_MAX))
def test_delays_are_within_their_bounds_and_grow(event_id: str, attempt: int) -> None:
    delay_s = retry_delay_s(event_id, attempt)
    assert RETRY_DELAY_MIN_S <= delay_s <= RETRY_DELAY_MAX_S
    assert delay_s == retry_delay_s(event_id, attempt)
    if attempt == 1:
        assert delay_s <= 15


def test_delays_are_spread() -> None:
    assert len({round(retry_delay_s(f"whe_{index}", 2)) for index in range(200)}) > 50


def test_failures_are_sustained_when_many_in_a_row_span_an_hour() -> None:
    streak: FailureStreak | None = None
    for index in range(GIVEN_UP_MAX):
        streak = given_up_again(streak, at(index))
    assert streak == FailureStreak(given_up=GIVEN_UP_MAX, since=at(0))
    assert not is_sustained(streak, at(int(FAILING_S) - 1))
    assert is_sustained(streak, at(int(FAILING_S)))
    assert not is_sustained(FailureStreak(given_up=GIVEN_UP_MAX - 1, since=at(0)), at(10 * int(FAILING_S)))
