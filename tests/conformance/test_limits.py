"""The contract's limits over HTTP: at the number a request is taken, one past it is refused and the field named.

Limits that need much work to reach (memories of a store, files of a session, scheduled deployments, sizes of uploads)
are tested where their resource is.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest

from tests.conformance.known_resources import BODIES, SELF_HOSTED, KnownResources
from tests.support.efferent_server import EfferentServer

Json = dict[str, Any]
Body = Callable[[KnownResources, int], Json]
MESSAGE: Final = {"type": "user.message", "content": [{"type": "text", "text": "hello"}]}
_NUMBERS: Final = itertools.count()


@dataclass(frozen=True)
class Limit:
    """One number of the contract."""

    field: str
    """What the refusal has to name."""
    most: int
    place: str
    """A path with a star for each id; what the body is sent to."""
    body: Body
    least: int | None = None
    """The smallest number that is taken, where there is one; one below is refused."""
    status: int = 400

    def __str__(self) -> str:
        return f"{self.place} {self.field}"


def text(length: int) -> str:
    """A text of a length that no other text equals, if it is long enough."""
    number = str(next(_NUMBERS))
    return (number + "x" * length)[:length]


def key(**fields: Callable[[int], Any]) -> Body:
    """A body that has a value of a size in the place of what it usually has."""

    def made(known: KnownResources, size: int) -> Json:
        return {name: value(size) for name, value in fields.items()}

    return made


def tools(*configs: Json) -> Json:
    """A toolset of an agent."""
    return {"type": "agent_toolset_20260401", "configs": [*configs]}


def custom(name: str) -> Json:
    """A custom tool."""
    return {"type": "custom", "name": name, "description": "d", "input_schema": {"type": "object", "properties": {}}}


def servers(*names: str, url: str = "https://mcp.example.com/") -> Json:
    """MCP servers with the toolsets that they need."""
    return {
        "mcp_servers": [
            {"type": "url", "name": name, "url": f"{url}{index or ''}"} for index, name in enumerate(names)
        ],
        "tools": [{"type": "mcp_toolset", "mcp_server_name": name} for name in names],
    }


def domain(length: int) -> str:
    """A host name of a length."""
    whole = "a.example.com"
    while len(whole) < length - 1:
        whole = f"{'a' * min(60, length - len(whole) - 1)}.{whole}"
    return whole


def path_of(length: int) -> str:
    """A path of a memory of a length, in bytes."""
    return "/" + text(length - 1)


METADATA: Final[tuple[tuple[str, int, Callable[[int], Json]], ...]] = (
    ("metadata", 16, lambda n: {f"k{index}": "v" for index in range(n)}),
    ("metadata", 64, lambda n: {"k" * n: "v"}),
    ("metadata", 512, lambda n: {"k": "v" * n}),
)
WITH_METADATA: Final = (
    "/v1/agents",
    "/v1/environments",
    "/v1/sessions",
    "/v1/deployments",
    "/v1/vaults",
    "/v1/vaults/*/credentials",
    "/v1/memory_stores",
    "/v1/user_profiles",
)


def initial(size: int) -> list[Json]:
    """Events that start a session."""
    return [MESSAGE] * size


def web_fetch(**settings: Any) -> Json:
    """An agent's tools with settings of ``web_fetch``."""
    return {"tools": [tools({"name": "web_fetch", **settings})]}


def vaults(known: KnownResources, size: int) -> Json:
    """Vaults that are there."""
    return {"vault_ids": [known.another("/v1/vaults") for _ in range(size)]}


def stores(known: KnownResources, size: int) -> Json:
    """Memory stores that are there."""
    ids = [known.another("/v1/memory_stores") for _ in range(size)]
    return {"resources": [{"type": "memory_store", "memory_store_id": each} for each in ids]}


def instructions(known: KnownResources, size: int) -> Json:
    """Instructions for a memory store."""
    store = known.one("/v1/memory_stores")
    return {"resources": [{"type": "memory_store", "memory_store_id": store, "instructions": "i" * size}]}


def dreamt(known: KnownResources, size: int) -> Json:
    """Sessions that a dream is about."""
    store = {"type": "memory_store", "memory_store_id": known.one("/v1/memory_stores")}
    ids = [known.another("/v1/sessions") for _ in range(size)]
    return {"inputs": [store, {"type": "sessions", "session_ids": ids}]}


def hosts(size: int) -> Json:
    """A credential of a variable for some hosts."""
    networking = {"type": "limited", "allowed_hosts": [f"h{index}.example.com" for index in range(size)]}
    secret = {"secret_name": f"NAME_{next(_NUMBERS)}", "secret_value": "v"}
    return {"auth": {"type": "environment_variable", **secret, "networking": networking}}


def sources(size: int) -> Json:
    """As many tools whose results are sources of URLs."""
    names = [f"tool_{index}" for index in range(size)]
    only = {"type": "only", "tools": [{"type": "tool_reference", "name": name} for name in names]}
    settings = {"name": "web_fetch", "url_sources": {"client_tool_results": only}}
    return {"tools": [tools(settings), *map(custom, names)]}


AGENT: Final = "/v1/agents"
SESSION: Final = "/v1/sessions"
EVENTS: Final = "/v1/sessions/*/events"
DEPLOYMENT: Final = "/v1/deployments"
STORE: Final = "/v1/memory_stores"
MEMORY: Final = "/v1/memory_stores/*/memories"
DREAM: Final = "/v1/dreams"
VAULT: Final = "/v1/vaults"
LIMITS: Final = (
    Limit("name", 256, AGENT, key(name=text), least=1),
    Limit("description", 2_048, AGENT, key(description=text)),
    Limit("system", 100_000, AGENT, key(system=text)),
    Limit("tools", 256, AGENT, lambda _, n: {"tools": [custom(f"t{index}") for index in range(n)]}),
    Limit("tools.0", 128, AGENT, lambda _, n: {"tools": [custom("t" * n)]}, least=1),
    Limit("mcp_servers", 20, AGENT, lambda _, n: servers(*(f"s{index}" for index in range(n)))),
    Limit("name", 255, AGENT, lambda _, n: servers("s" * n), least=1),
    Limit("url", 2_048, AGENT, lambda _, n: servers("s", url="https://mcp.example.com/" + "u" * (n - 24))),
    Limit("role_arn", 2_048, AGENT, lambda _, n: {"execution_identity": {"type": "aws_role", "role_arn": "a" * n}}),
    Limit(
        "allowed_domains",
        64,
        AGENT,
        lambda _, n: web_fetch(allowed_domains=[f"h{index}.example.com" for index in range(n)]),
        least=1,
    ),
    Limit("blocked_domains", 255, AGENT, lambda _, n: web_fetch(blocked_domains=[domain(n)])),
    Limit("client_tool_results", 128, AGENT, lambda _, n: sources(n), least=1),
    Limit("title", 2_048, SESSION, key(title=text)),
    Limit("initial_events", 50, SESSION, key(initial_events=initial)),
    Limit("vault_ids", 50, SESSION, vaults),
    Limit("resources", 8, SESSION, stores),
    Limit("instructions", 4_096, SESSION, instructions),
    Limit("events", 1_000, EVENTS, lambda _, n: {"events": [{"type": "user.interrupt"}] * n}, least=1),
    Limit(
        "content",
        1_000,
        EVENTS,
        lambda _, n: {"events": [{"type": "system.message", "content": [{"type": "text", "text": "t"}] * n}]},
        least=1,
    ),
    Limit("name", 256, DEPLOYMENT, key(name=text), least=1),
    Limit("initial_events", 50, DEPLOYMENT, key(initial_events=initial), least=1),
    Limit("vault_ids", 50, DEPLOYMENT, vaults),
    Limit("instructions", 4_096, DEPLOYMENT, instructions),
    Limit("display_name", 255, VAULT, key(display_name=text), least=1),
    Limit("display_name", 255, f"{VAULT}/*/credentials", key(display_name=text)),
    Limit("allowed_hosts", 16, f"{VAULT}/*/credentials", lambda _, n: hosts(n)),
    Limit("name", 255, STORE, key(name=text), least=1),
    Limit("description", 1_024, STORE, key(description=text)),
    Limit("path", 1_024, MEMORY, key(path=path_of), least=2),
    Limit("path", 20, MEMORY, lambda _, n: {"path": f"/{text(8)}" + "/s" * (n - 1)}),
    Limit("content", 102_400, MEMORY, lambda _, n: {"path": path_of(20), "content": "c" * n}, least=0),
    Limit("content", 51_200, MEMORY, lambda _, n: {"path": path_of(20), "content": "é" * n}),
    Limit("session_ids", 100, DREAM, dreamt, least=1),
    Limit("instructions", 4_096, DREAM, key(instructions=text), least=1),
    Limit("name", 255, "/v1/user_profiles", key(name=text), least=1),
    *(Limit(field, most, place, key(metadata=value)) for place in WITH_METADATA for field, most, value in METADATA),
)


@pytest.fixture(scope="module")
def known(fuzzed_server: EfferentServer) -> Iterator[KnownResources]:
    """A client of the server."""
    resources = KnownResources(fuzzed_server.base_url)
    yield resources
    resources.close()


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: f"{limit}-{limit.most}")
def test_a_limit_is_met_at_the_number_and_one_past_it_is_refused(limit: Limit, known: KnownResources) -> None:
    assert _sent(limit, known, limit.most) == (200, "")
    status, message = _sent(limit, known, limit.most + 1)
    assert (status, limit.field in message) == (limit.status, True), message
    if limit.least is not None:
        assert _sent(limit, known, limit.least) == (200, "")
        if limit.least > 0:
            status, message = _sent(limit, known, limit.least - 1)
            assert (status, limit.field.partition(".")[0] in message) == (limit.status, True), message


def _sent(limit: Limit, known: KnownResources, size: int) -> tuple[int, str]:
    usual = BODIES[limit.place](known)["json"] if limit.place in BODIES else {}
    path = limit.place.replace("*", "{id}")
    place = path.format_map(known.path_parameters(path, fresh=True))
    answer = known.call("POST", place, json=usual | limit.body(known, size))
    return answer.status_code, "" if answer.ok else answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "parameter", "least", "most"),
    [
        (f"{SELF_HOSTED}/*/work/poll", "block_ms", 1, 999),
        ("/v1/agents/*", "version", 1, None),
        (MEMORY, "depth", 0, 1),
    ],
)
def test_a_number_in_the_query_has_its_bounds(
    known: KnownResources, path: str, parameter: str, least: int, most: int | None
) -> None:
    place = path.replace("*", "{id}").replace(SELF_HOSTED, "/v1/environments")
    place = place.format_map(known.path_parameters(place, fresh=False))
    for taken in (least, least if most is None else most):
        assert known.call("GET", place, params={parameter: str(taken)}).status_code == 200
    for value in (str(least - 1), "one", *([] if most is None else [str(most + 1)])):
        answer = known.call("GET", place, params={parameter: value})
        assert (answer.status_code, parameter in answer.text) == (400, True), value


def test_a_vault_holds_twenty_credentials(known: KnownResources) -> None:
    vault = known.another(VAULT)
    for number in range(21):
        answer = known.call("POST", f"{VAULT}/{vault}/credentials", **BODIES[f"{VAULT}/*/credentials"](known))
        assert answer.status_code == (200 if number < 20 else 400), answer.text
    archived = known.call("GET", f"{VAULT}/{vault}/credentials").json()["data"][0]["id"]
    assert known.call("POST", f"{VAULT}/{vault}/credentials/{archived}/archive").status_code == 200
    answer = known.call("POST", f"{VAULT}/{vault}/credentials", **BODIES[f"{VAULT}/*/credentials"](known))
    assert answer.status_code == 200, answer.text


def test_a_list_of_files_takes_a_hundred_ids(known: KnownResources) -> None:
    ids = [f"file_{number:024d}" for number in range(101)]
    assert known.call("GET", "/v1/files", params={"ids[]": ids[:100]}).status_code == 200
    assert known.call("GET", "/v1/files", params={"ids[]": [*ids[:100], ids[0]]}).status_code == 200
    answer = known.call("GET", "/v1/files", params={"ids[]": ids})
    assert (answer.status_code, "ids" in answer.text) == (400, True)


def test_a_stream_takes_a_hundred_kinds_of_previews(known: KnownResources) -> None:
    session = known.one(SESSION)
    for count, status in ((100, 200), (101, 400)):
        values = ["agent.message"] * count
        path = f"/v1/sessions/{session}/events/stream"
        with known.call("GET", path, params={"event_deltas[]": values}, stream=True) as answer:
            assert answer.status_code == status


def test_a_work_items_metadata_has_its_limits(known: KnownResources) -> None:
    environment = known.path_parameters("/v1/environments/{id}/work/poll", fresh=True)["id"]
    body = {"agent": known.one(AGENT), "environment_id": environment}
    assert known.call("POST", SESSION, json=body).status_code == 200
    work = ""
    for _ in range(20):
        item = known.call("GET", f"/v1/environments/{environment}/work/poll", params={"block_ms": "999"}).json()
        if item is not None:
            work = item["id"]
            break
    path = f"/v1/environments/{environment}/work/{work}"
    for _, most, value in METADATA:
        cleared = dict.fromkeys(known.call("GET", path).json()["metadata"])
        assert known.call("POST", path, json={"metadata": cleared}).status_code == 200
        assert known.call("POST", path, json={"metadata": value(most)}).status_code == 200
        cleared = dict.fromkeys(value(most))
        assert known.call("POST", path, json={"metadata": cleared}).status_code == 200
        answer = known.call("POST", path, json={"metadata": value(most + 1)})
        assert (answer.status_code, "metadata" in answer.text) == (400, True)
