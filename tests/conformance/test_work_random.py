"""Random sequences of what workers and clients do to one work queue: an item only ever goes forward."""

from typing import Any, Final

import hypothesis
import pytest
import requests
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.conformance.known_resources import KnownResources
from tests.conformance.test_resources_random import PICKS, SETTINGS
from tests.support.efferent_server import EfferentServer

Json = dict[str, Any]
STATES: Final = ("queued", "starting", "active", "stopping", "stopped")
HEARTBEATS: Final = st.sampled_from(["", "NO_HEARTBEAT", "last", "2001-01-01T00:00:00.000000Z", "nonsense"])


@pytest.mark.timeout(300)
def test_whatever_is_done_to_a_queue_its_items_only_go_forward(fuzzed_server: EfferentServer) -> None:
    known = KnownResources(fuzzed_server.base_url)

    class OfThisServer(WorkQueue):
        def __init__(self) -> None:
            super().__init__(known)

    run_state_machine_as_test(
        OfThisServer, settings=hypothesis.settings(SETTINGS, max_examples=12, stateful_step_count=20)
    )
    known.close()


class WorkQueue(RuleBasedStateMachine):
    """Workers and a client of one environment that remember each item as it was shown last."""

    def __init__(self, known: KnownResources) -> None:
        super().__init__()
        self._known = known
        path = "/v1/environments/{id}/work/poll"
        self._environment = known.path_parameters(path, fresh=True)["id"]
        self._path = f"/v1/environments/{self._environment}/work"
        self._shown: dict[str, Json] = {}

    @rule()
    def session(self) -> None:
        body = {"agent": self._known.one("/v1/agents"), "environment_id": self._environment}
        assert self._ask("POST", "/v1/sessions", json=body).status_code == 200

    @rule()
    def poll(self) -> None:
        answer = self._ask("GET", f"{self._path}/poll", params={"block_ms": "1"})
        assert answer.status_code == 200
        if answer.json() is not None:
            item = answer.json()
            assert item["state"] == "queued"
            assert item["secret"]
            self._see(item)

    @rule(which=PICKS)
    def acknowledge(self, which: int) -> None:
        for item in self._picked(which):
            answer = self._ask("POST", f"{self._path}/{item['id']}/ack")
            if answer.status_code == 200:
                assert answer.json()["acknowledged_at"]
                self._see(answer.json())
            else:
                assert (answer.status_code, item["state"]) != (409, "queued")

    @rule(which=PICKS, expected=HEARTBEATS)
    def beat(self, which: int, expected: str) -> None:
        for item in self._picked(which):
            if expected == "last":
                expected = item["latest_heartbeat_at"] or "NO_HEARTBEAT"
            query = {"expected_last_heartbeat": expected} if expected else {}
            answer = self._ask("POST", f"{self._path}/{item['id']}/heartbeat", params=query)
            if answer.status_code == 200:
                assert STATES.index(answer.json()["state"]) >= STATES.index(item["state"])
            elif answer.status_code == 412:
                assert answer.json()["error"]["details"]["error_code"] == "heartbeat_precondition_failed"

    @rule(which=PICKS, force=st.sampled_from([None, True, False]))
    def stop(self, which: int, force: bool | None) -> None:
        for item in self._picked(which):
            answer = self._ask("POST", f"{self._path}/{item['id']}/stop", json={"force": force})
            if item["state"] == "stopped":
                assert answer.status_code == 409
            if answer.status_code == 200:
                self._see(answer.json())

    @rule(which=PICKS, value=st.sampled_from([None, "a", "b"]))
    def describe(self, which: int, value: str | None) -> None:
        for item in self._picked(which):
            answer = self._ask("POST", f"{self._path}/{item['id']}", json={"metadata": {"k": value}})
            if answer.status_code == 200:
                assert answer.json()["metadata"] == ({} if value is None else {"k": value})
                self._see(answer.json())

    @invariant()
    def what_is_listed_is_what_is_retrieved(self) -> None:
        answer = self._ask("GET", self._path, params={"limit": "100"})
        listed = {item["id"]: item for item in answer.json()["data"]}
        assert set(self._shown) <= set(listed)
        for item in listed.values():
            self._see(item)
        stats = self._ask("GET", f"{self._path}/stats").json()
        waiting = sum(item["state"] == "queued" for item in listed.values())
        assert stats["depth"] + stats["pending"] >= 0
        assert stats["depth"] <= waiting

    def _see(self, item: Json) -> None:
        """An item of one id never goes back, and is always of the same session."""
        before = self._shown.get(item["id"], item)
        assert STATES.index(item["state"]) >= STATES.index(before["state"]), (before, item)
        for name in ("created_at", "data", "environment_id"):
            assert item[name] == before[name]
        for name in ("acknowledged_at", "started_at", "stop_requested_at", "stopped_at"):
            assert before[name] in (None, item[name]), name
        self._shown[item["id"]] = item

    def _picked(self, which: int) -> list[Json]:
        items = list(self._shown.values())
        return [items[which % len(items)]] if items else []

    def _ask(self, method: str, path: str, **rest: Any) -> requests.Response:
        answer = self._known.call(method, path, **rest)
        assert answer.status_code < 500, answer.text
        return answer
