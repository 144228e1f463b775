"""Random sequences of what clients can do with a resource, over HTTP: what is promised of one holds for all kinds.

What is drawn never depends on what the server answered, so that a failing sequence can be told and tried again.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from efferent.gateway.routes.openapi import FILE
from tests.conformance.known_resources import BODIES, SELF_HOSTED, KnownResources
from tests.support.efferent_server import EfferentServer

Json = dict[str, Any]

PATHS: Final[Json] = json.loads(FILE.read_text())["paths"]
VOLATILE: Final = {
    "/v1/deployments": ("upcoming_runs_at",),
    "/v1/dreams": ("status", "ended_at", "error", "outputs", "session_id", "usage"),
    "/v1/memory_stores/*/memories": ("content",),
    "/v1/sessions": ("stats", "usage"),
}
"""What changes without being told to, or is not shown everywhere."""
BY_PATH: Final = ("/v1/memory_stores/*/memories",)
"""Lists in another order than that of time."""
REVOKED: Final = (f"{SELF_HOSTED}/*/keys",)
"""What is ended rather than deleted: ending it again changes nothing."""
SEQUENCES_MAX: Final = 25
STEPS_MAX: Final = 15
PAGES_MAX: Final = 100

SETTINGS: Final = hypothesis.settings(
    max_examples=SEQUENCES_MAX,
    stateful_step_count=STEPS_MAX,
    deadline=None,
    database=None,
    derandomize=True,
    phases=(hypothesis.Phase.generate,),  # sequences are short: to make them shorter takes longer than to read them
    suppress_health_check=list(hypothesis.HealthCheck),
)
PICKS: Final = st.integers(0, 7)

_SCHEMA: Final = schemathesis.openapi.from_path(FILE)


@pytest.fixture(scope="module")
def known(fuzzed_server: EfferentServer) -> Iterator[KnownResources]:
    """A client of the server."""
    resources = KnownResources(fuzzed_server.base_url)
    yield resources
    resources.close()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("place", [place for place in BODIES if place != SELF_HOSTED])
def test_whatever_is_done_to_resources_what_is_shown_of_them_stays_consistent(
    place: str, known: KnownResources
) -> None:
    base = Skills if place == "/v1/skills" else Resources

    class OfThisKind(base):  # type: ignore[misc, valid-type]  # Hypothesis wants a class that it can make by itself
        def __init__(self) -> None:
            super().__init__(place, known)

    run_state_machine_as_test(OfThisKind, settings=SETTINGS)


class Resources(RuleBasedStateMachine):
    """A client that remembers what it was shown last of each resource that it made."""

    def __init__(self, place: str, known: KnownResources) -> None:
        super().__init__()
        self._kind = place
        self._known = known
        self._volatile = VOLATILE.get(place, ())
        documented = place.replace(SELF_HOSTED, "/v1/environments").split("*")
        self._list = next(path for path in PATHS if re.split("{[^}]*}", path) == documented)
        self._place = self._list.format_map(known.path_parameters(self._list, fresh=True))
        self._shown: dict[str, Json] = {}
        self._gone: set[str] = set()
        self._made: list[str] = []
        self._item = next(path for path in PATHS if re.fullmatch(re.escape(self._list) + "/{[^/]*}", path))

    @rule(data=st.data())
    def create(self, data: st.DataObject) -> None:
        body = BODIES[self._kind](self._known)
        if "json" in body:
            body = {"json": body["json"] | self._drawn(data, self._list)}
        answer = self._ask("POST", self._place, **body)
        if answer.status_code == 200:
            made: Json = answer.json()
            assert made["id"] not in self._shown
            self._shown[made["id"]] = made
            self._made.append(made["id"])

    @rule(which=PICKS)
    def retrieve(self, which: int) -> None:
        for identifier in self._picked(which):
            self._check(identifier)

    def _check(self, identifier: str) -> None:
        if "get" not in PATHS[self._item]:
            return
        answer = self._ask("GET", f"{self._place}/{identifier}")
        if identifier in self._gone:
            assert answer.status_code == 404
        else:
            assert answer.status_code == 200
            self._check_shown(identifier, answer.json())

    def _check_shown(self, identifier: str, body: Json) -> None:
        """What two answers both have is equal: some things are shown once."""
        shown = self._stable(self._shown[identifier])
        now = self._stable(body)
        assert {name: now[name] for name in now if name in shown} == {
            name: shown[name] for name in shown if name in now
        }

    @rule(which=PICKS, data=st.data())
    def update(self, which: int, data: st.DataObject) -> None:
        if "post" in PATHS[self._item]:
            body = self._drawn(data, self._item)
            for identifier in self._picked(which):
                self._update(identifier, body)

    def _update(self, identifier: str, body: Json) -> None:
        answer = self._ask("POST", f"{self._place}/{identifier}", json=body)
        if identifier in self._gone:
            assert answer.status_code >= 400
        elif answer.status_code == 200:
            before, after = self._shown[identifier], answer.json()
            assert not before.get("archived_at") or self._stable(before) == self._stable(after), "archived is read-only"
            self._check_step(before, after)
            self._shown[identifier] = after
        else:
            self._check(identifier)

    @rule(which=PICKS)
    def archive(self, which: int) -> None:
        if f"{self._item}/archive" in PATHS:
            for identifier in self._picked(which):
                self._archive(identifier)

    def _archive(self, identifier: str) -> None:
        answer = self._ask("POST", f"{self._place}/{identifier}/archive")
        if identifier in self._gone:
            assert answer.status_code == 404
            return
        if answer.status_code == 400 and "status" in self._volatile:
            return  # it is still at it
        assert answer.status_code == 200, answer.text
        before, after = self._shown[identifier], answer.json()
        assert after["archived_at"]
        if before["archived_at"]:
            assert self._stable(after) == self._stable(before), "archiving again changes nothing"
        self._shown[identifier] = after

    @rule(which=PICKS)
    def delete(self, which: int) -> None:
        if "delete" in PATHS[self._item]:
            for identifier in self._picked(which):
                self._delete(identifier)

    def _delete(self, identifier: str) -> None:
        answer = self._ask("DELETE", f"{self._place}/{identifier}")
        if identifier in self._gone:
            assert answer.status_code == (200 if self._kind in REVOKED else 404)
        elif answer.status_code == 200:
            assert answer.json()["id"] == identifier
            self._gone.add(identifier)

    @rule(include_archived=st.booleans())
    def list_all(self, include_archived: bool) -> None:
        parameters = {each["name"] for each in PATHS[self._list]["get"]["parameters"]}
        can_hide = "include_archived" in parameters
        listed = self._listed({"include_archived": "true"} if can_hide and include_archived else {}, parameters)
        for identifier, shown in self._shown.items():
            hidden = can_hide and not include_archived and shown.get("archived_at")
            if identifier in self._gone or hidden:
                assert identifier not in listed
            else:
                self._check_shown(identifier, listed[identifier])
        if self._kind in BY_PATH:
            return
        times = [item["created_at"] for item in listed.values()]
        assert times in (sorted(times), sorted(times, reverse=True))

    def teardown(self) -> None:
        """Make room: there are limits to how many there may be."""
        if "delete" in PATHS[self._item]:
            for identifier in self._made:
                self._ask("DELETE", f"{self._place}/{identifier}")
        if "{" in self._list:
            self._ask("DELETE", self._place.rpartition("/")[0])

    def _picked(self, which: int) -> list[str]:
        """One of what was made; nothing while there is nothing."""
        return [self._made[which % len(self._made)]] if self._made else []

    def _listed(self, query: dict[str, str], parameters: set[str]) -> dict[str, Json]:
        cursor_of = ("after_id", "last_id") if "after_id" in parameters else ("page", "next_page")
        found: dict[str, Json] = {}
        for _ in range(PAGES_MAX):
            answer = self._ask("GET", self._place, params=query | {"limit": "100"})
            assert answer.status_code == 200, answer.text
            page = answer.json()
            for item in page["data"]:
                assert item["id"] not in found, "listed twice"
                found[item["id"]] = item
            if not page.get("has_more", page.get("next_page")):
                return found
            query = query | {cursor_of[0]: page[cursor_of[1]]}
        raise AssertionError(f"more than {PAGES_MAX} pages")

    def _check_step(self, before: Json, after: Json) -> None:
        for name in ("id", "type", "created_at"):
            assert after.get(name) == before.get(name)
        assert after["updated_at"] >= before["updated_at"]
        if "version" in after:
            changed = self._stable(after) != self._stable(before)
            assert after["version"] == before["version"] + changed

    def _drawn(self, data: st.DataObject, path: str) -> Json:
        """Some fields of a body that the document allows."""
        cases = _SCHEMA[path]["POST"].as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE)
        body = data.draw(cases.map(lambda case: case.body))
        if not isinstance(body, dict):
            return {}
        kept = data.draw(st.sets(st.sampled_from(sorted(body)), max_size=3)) if body else set()
        return {name: body[name] for name in kept}

    def _ask(self, method: str, path: str, **rest: Any) -> requests.Response:
        answer = self._known.call(method, path, **rest)
        assert answer.status_code < 500, answer.text
        return answer

    def _stable(self, body: Json) -> Json:
        """Without what time changes."""
        return {name: value for name, value in body.items() if name not in self._volatile}


class Skills(Resources):
    """Skills have versions, and cannot be deleted before them."""

    @rule(which=PICKS, own_name=st.booleans())
    def add_version(self, which: int, own_name: bool) -> None:
        for identifier in self._picked(which):
            name = self._shown[identifier]["display_name"] if own_name else "another"
            text = f"---\nname: {name}\ndescription: Once more.\n---\nDo it.\n"
            files = [("files[]", (f"{name}/SKILL.md", text.encode(), "text/markdown"))]
            answer = self._ask("POST", f"{self._place}/{identifier}/versions", files=files)
            if identifier in self._gone:
                assert answer.status_code == 404
            elif not self._versions(identifier):
                assert answer.status_code in (200, 400)
            else:
                assert answer.status_code == (200 if own_name else 400), answer.text
            self._follow(identifier)

    @rule(which=PICKS, version=PICKS)
    def delete_version(self, which: int, version: int) -> None:
        for identifier in self._picked(which):
            versions = self._versions(identifier)
            for chosen in versions[version % len(versions) :][:1] if versions else []:
                path = f"{self._place}/{identifier}/versions/{chosen['id']}"
                assert self._ask("DELETE", path).status_code == 200
                assert self._ask("GET", path).status_code == 404
                assert chosen not in self._versions(identifier)
            self._follow(identifier)

    @rule(which=PICKS)
    def delete_with_versions(self, which: int) -> None:
        for identifier in self._picked(which):
            if self._versions(identifier):
                assert self._ask("DELETE", f"{self._place}/{identifier}").status_code == 400
                self._check(identifier)

    def _versions(self, identifier: str) -> list[Json]:
        answer = self._ask("GET", f"{self._place}/{identifier}/versions", params={"limit": "1000"})
        assert answer.status_code == (404 if identifier in self._gone else 200)
        return list(answer.json().get("data", []))

    def _follow(self, identifier: str) -> None:
        """The skill says which version is the newest."""
        if identifier in self._gone:
            return
        skill = self._ask("GET", f"{self._place}/{identifier}").json()
        versions = self._versions(identifier)
        assert skill["latest_version_id"] == (versions[0]["id"] if versions else "")
        self._shown[identifier] = skill
