"""Every list of the API, as the served document has them: limits of a page, and cursors that are for another list."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest

from efferent.gateway.routes.openapi import FILE
from tests.conformance.known_resources import BODIES, SELF_HOSTED, KnownResources
from tests.support.efferent_server import EfferentServer

Json = dict[str, Any]
LISTED_WITHIN_S: Final = 30.0
LATER: Final = "2999-01-01T00:00:00Z"
EARLIER: Final = "2001-01-01T00:00:00Z"
_LIMITS_MAX: Final = {
    "/v1/deployment_runs": 1000,
    "/v1/files": 1000,
    "/v1/models": 1000,
    "/v1/sessions": 1000,
    "/v1/sessions/{session_id}/events": 1000,
    "/v1/sessions/{session_id}/resources": 1000,
    "/v1/sessions/{session_id}/threads": 1000,
    "/v1/sessions/{session_id}/threads/{thread_id}/events": 1000,
    "/v1/skills": 1000,
    "/v1/skills/{skill_id}/versions": 1000,
}
"""Of all others it is 100."""
_ONE_ITEM: Final = "/v1/sessions/{session_id}/threads"
"""Without agents that call others there is one thread only, so no cursor."""


@dataclass(frozen=True)
class Listing:
    """A list of the document."""

    path: str
    parameters: frozenset[str]

    @property
    def limit_max(self) -> int:
        """Items of a page at most."""
        return _LIMITS_MAX.get(self.path, 100)

    @property
    def has_cursors(self) -> bool:
        """Opaque ones; the older lists go on behind an id."""
        return "page" in self.parameters


def listings() -> Iterator[Listing]:
    """All of the document that come in pages."""
    for path, item in json.loads(FILE.read_text())["paths"].items():
        names = frozenset(each["name"] for each in item.get("get", {}).get("parameters", ()))
        if "limit" in names:
            yield Listing(path, names)


LISTINGS: Final = list(listings())
each_listing = pytest.mark.parametrize("listing", LISTINGS, ids=lambda listing: listing.path)
each_paged = pytest.mark.parametrize(
    "listing", [it for it in LISTINGS if it.has_cursors and it.path != _ONE_ITEM], ids=lambda listing: listing.path
)


class Lists:
    """A server whose lists have three items or more."""

    def __init__(self, known: KnownResources) -> None:
        self.known = known
        self._places: dict[str, str] = {}

    def place(self, listing: Listing) -> str:
        """The list's path with ids in it."""
        path = listing.path
        if path not in self._places:
            self._places[path] = self._filled(path)
        return self._places[path]

    def ask(self, listing: Listing, **query: Any) -> tuple[int, Json]:
        """The status and the body of one page."""
        answer = self.known.call("GET", self.place(listing), params=query)
        return answer.status_code, answer.json()

    def cursor(self, listing: Listing, **query: Any) -> str:
        """Where a page of one item goes on."""
        deadline = time.monotonic() + LISTED_WITHIN_S
        while True:  # work items are queued by the gateway itself, after their session was made
            status, page = self.ask(listing, limit=1, **query)
            assert status == 200, page
            if page["next_page"] is not None or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        assert isinstance(page["next_page"], str), page
        return page["next_page"]

    def _filled(self, path: str) -> str:
        place = path.format_map(self.known.path_parameters(path, fresh=True))
        make = _MAKERS.get(path)
        for number in range(3):
            if make is not None:
                make(self.known, place.rpartition("/")[0], number)
            elif path not in ("/v1/models", _ONE_ITEM):
                self.known.another(place)
        return place


def _key(item: Json) -> tuple[str, int | None]:
    """What tells an item of a list from the others; versions of one agent have its id."""
    return item["id"], item.get("version")


def _made(known: KnownResources, path: str, body: Json) -> Json:
    answer = known.call("POST", path, json=body)
    assert answer.status_code == 200, answer.text
    made: Json = answer.json()
    return made


def _interrupt(known: KnownResources, session: str, _: int) -> None:
    session = session.partition("/threads/")[0]
    _made(known, f"{session}/events", {"events": [{"type": "user.interrupt"}]})


def _work(known: KnownResources, environment: str, _: int) -> None:
    body = {"agent": known.one("/v1/agents"), "environment_id": environment.rpartition("/")[2]}
    _made(known, "/v1/sessions", body)


def _skill_version(known: KnownResources, skill: str, _: int) -> None:
    [version] = known.call("GET", f"{skill}/versions", params={"limit": 1}).json()["data"]
    text = f"---\nname: {version['name']}\ndescription: Once more.\n---\nDo it.\n"
    files = [("files[]", (f"{version['name']}/SKILL.md", text.encode(), "text/markdown"))]
    answer = known.call("POST", f"{skill}/versions", files=files)
    assert answer.status_code == 200, answer.text


def _run(known: KnownResources, _: str, __: int) -> None:
    _made(known, f"/v1/deployments/{known.one('/v1/deployments')}/run", {})


_MAKERS: Final[dict[str, Callable[[KnownResources, str, int], object]]] = {
    "/v1/agents/{agent_id}/versions": lambda known, agent, number: _made(known, agent, {"description": f"{number}"}),
    "/v1/deployment_runs": _run,
    "/v1/environments/{environment_id}/work": _work,
    "/v1/memory_stores/{memory_store_id}/memory_versions": lambda known, store, _: known.another(f"{store}/memories"),
    "/v1/sessions/{session_id}/events": _interrupt,
    "/v1/sessions/{session_id}/threads/{thread_id}/events": _interrupt,
    "/v1/skills/{skill_id}/versions": _skill_version,
}
"""Where an item is not made by a POST to its list."""


@pytest.fixture(scope="module")
def lists(fuzzed_server: EfferentServer) -> Iterator[Lists]:
    """All lists of one server."""
    known = KnownResources(fuzzed_server.base_url)
    yield Lists(known)
    known.close()


@pytest.fixture(scope="module")
def foreign_key(fuzzed_server: EfferentServer) -> str:
    """A key of another workspace."""

    async def make() -> str:
        workspace_id, _ = await fuzzed_server.beside_it("workspaces", "create", "another")
        key, _ = await fuzzed_server.beside_it("keys", "create", "--workspace", workspace_id)
        return key.split()[-1]

    return asyncio.run(make())


@each_listing
def test_a_page_has_as_many_items_as_the_contract_allows_and_not_one_more(listing: Listing, lists: Lists) -> None:
    assert lists.ask(listing, limit=1)[0] == 200
    assert lists.ask(listing, limit=listing.limit_max)[0] == 200
    for limit in (listing.limit_max + 1, -1, "ten", "1.5", 10**30):
        status, body = lists.ask(listing, limit=limit)
        assert (status, body["error"]["type"]) == (400, "invalid_request_error"), limit
        assert body["error"]["message"].startswith("limit: "), body


@each_listing
def test_a_cursor_that_nobody_gave_is_refused(listing: Listing, lists: Lists) -> None:
    for name in ("page",) if listing.has_cursors else ("after_id", "before_id"):
        for text in ("page_AAAA", "nonsense", "\u0000", "page_" + "A" * 5_000):
            status, body = lists.ask(listing, **{name: text})
            assert (status, body["error"]["type"]) == (400, "invalid_request_error"), text


@each_paged
def test_a_cursor_goes_on_where_its_page_ended(listing: Listing, lists: Lists) -> None:
    status, page = lists.ask(listing, limit=1, page=lists.cursor(listing))
    both = lists.ask(listing, limit=2)[1]["data"]
    assert status == 200
    assert [_key(item) for item in page["data"]] == [_key(item) for item in both[1:]]


@each_paged
def test_a_damaged_cursor_is_refused(listing: Listing, lists: Lists) -> None:
    cursor = lists.cursor(listing)
    other = "B" if cursor[-6] == "A" else "A"
    for text in (cursor[:-1], cursor[:-6] + other + cursor[-5:], cursor + "A"):
        assert lists.ask(listing, page=text)[0] == 400, (cursor, text)


@each_paged
def test_a_cursor_of_any_other_list_is_refused(listing: Listing, lists: Lists) -> None:
    for other in LISTINGS:
        if other.has_cursors and other.path not in (listing.path, _ONE_ITEM):
            status, body = lists.ask(listing, page=lists.cursor(other))
            assert (status, body["error"]["message"]) == (400, "invalid page cursor"), other.path


@pytest.mark.parametrize("listing", [it for it in LISTINGS if "{" in it.path], ids=lambda listing: listing.path)
def test_a_cursor_of_another_parent_is_refused(listing: Listing, lists: Lists) -> None:
    if listing.path == _ONE_ITEM:
        return
    elsewhere = Lists(lists.known)
    elsewhere._places[listing.path] = elsewhere._filled(listing.path)
    assert elsewhere.place(listing) != lists.place(listing)
    assert lists.ask(listing, page=elsewhere.cursor(listing))[0] == 400


@each_paged
def test_a_cursor_of_another_workspace_is_refused(listing: Listing, lists: Lists, foreign_key: str) -> None:
    place = lists.place(listing)
    with_cursor = lists.known.call("GET", place, params={"page": lists.cursor(listing)}, api_key=foreign_key)
    without = lists.known.call("GET", place, api_key=foreign_key)
    if "{" in listing.path:  # what the cursor is refused with says nothing of the parent
        assert (with_cursor.status_code in (400, 404), without.status_code) == (True, 404)
    else:
        assert with_cursor.status_code == 400
        assert with_cursor.json()["error"]["message"] == "invalid page cursor"
        assert (without.status_code, without.json()["data"]) == (200, [])


@pytest.mark.parametrize(
    "listing",
    [it for it in LISTINGS if {"page", "order"} <= it.parameters],
    ids=lambda listing: listing.path,
)
def test_a_cursor_of_the_other_order_is_refused(listing: Listing, lists: Lists) -> None:
    for order, other in (("asc", "desc"), ("desc", "asc")):
        cursor = lists.cursor(listing, order=order)
        assert lists.ask(listing, order=order, page=cursor)[0] == 200
        status, body = lists.ask(listing, order=other, page=cursor)
        assert (status, body["error"]["message"]) == (400, "page token order does not match request")


@pytest.mark.parametrize(
    "listing",
    [it for it in LISTINGS if any(name.startswith("created_at") for name in it.parameters)],
    ids=lambda listing: listing.path,
)
def test_a_cursor_that_the_filter_of_time_leaves_out_is_refused(listing: Listing, lists: Lists) -> None:
    cursor = lists.cursor(listing)
    for name in listing.parameters:
        if name.startswith("created_at"):
            outside, around = (LATER, EARLIER) if "[g" in name else (EARLIER, LATER)
            assert lists.ask(listing, page=cursor, **{name: outside})[0] == 400, name
            assert lists.ask(listing, page=cursor, **{name: around})[0] == 200, name


def test_every_list_is_filled_by_somebody() -> None:
    made = {path.replace(SELF_HOSTED, "/v1/environments") for path in BODIES}
    unfilled = [
        listing.path
        for listing in LISTINGS
        if listing.path not in (*_MAKERS, "/v1/models", _ONE_ITEM)
        and "*".join(part.partition("}")[2] if index else part for index, part in enumerate(listing.path.split("{")))
        not in made
    ]
    assert unfilled == []
