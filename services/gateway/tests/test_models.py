"""``/v1/models``: the catalog and the configured providers, with and without a beta header."""

from pathlib import Path

import pytest

from efferent.common.domain import timestamp
from efferent.common.domain.model_catalog import KNOWN_MODELS
from efferent.common.model_config import ModelConfigs
from efferent.common.model_provider import Provider
from efferent.common.testing.fake_clock import FakeClock
from efferent.gateway.routes.models import listed
from services.gateway.tests.gateway_rig import Served, ServerAddress, serve

NO_BETA = {"anthropic-beta": None}


async def test_the_official_client_lists_and_retrieves_models(served: Served) -> None:
    sdk = served.sdk()
    models = [model async for model in sdk.models.list(limit=5)]
    assert models[0].created_at >= models[-1].created_at
    assert len({model.id for model in models}) == len(models)
    opus = await sdk.models.retrieve("claude-opus-4-8")
    assert (opus.type, opus.display_name, opus.line, opus.lifecycle) == ("model", "Claude Opus 4.8", "opus", "active")
    assert opus.max_input_tokens == 1_000_000
    assert opus.capabilities is not None
    assert opus.capabilities.effort.supported
    assert opus.capabilities.thinking.types.adaptive.supported
    beta = await sdk.beta.models.retrieve("claude-opus-4-8")
    assert beta.id == "claude-opus-4-8"


async def test_models_need_a_key_and_a_version_but_no_beta(served: Served) -> None:
    assert (await served.call("GET", "/v1/models", headers=NO_BETA)).status == 200
    assert (await served.call("GET", "/v1/models", headers={"anthropic-beta": "unknown-1"})).status == 200
    assert (await served.call("GET", "/v1/models", headers=NO_BETA | {"x-api-key": None})).status == 401
    assert (await served.call("GET", "/v1/models", headers=NO_BETA | {"anthropic-version": None})).status == 400


async def test_pages_go_both_ways(served: Served) -> None:
    every = (await served.call("GET", "/v1/models?limit=1000")).body
    ids = [model["id"] for model in every["data"]]
    assert every["has_more"] is False
    assert (every["first_id"], every["last_id"]) == (ids[0], ids[-1])
    first = (await served.call("GET", "/v1/models?limit=3")).body
    assert ([model["id"] for model in first["data"]], first["has_more"]) == (ids[:3], True)
    second = (await served.call("GET", f"/v1/models?limit=3&after_id={first['last_id']}")).body
    assert [model["id"] for model in second["data"]] == ids[3:6]
    back = (await served.call("GET", f"/v1/models?limit=3&before_id={second['first_id']}")).body
    assert ([model["id"] for model in back["data"]], back["has_more"]) == (ids[:3], False)


async def test_lifecycles_are_filtered_and_retired_models_hidden(served: Served) -> None:
    shown = (await served.call("GET", "/v1/models?limit=1000")).body["data"]
    assert {model["lifecycle"] for model in shown} <= {"active", "deprecated"}
    retired = (await served.call("GET", "/v1/models?lifecycle[]=retired&limit=1000")).body["data"]
    assert {model["lifecycle"] for model in retired} == {"retired"}
    assert all(model["deprecated_at"] for model in retired)


@pytest.mark.parametrize("model_id", ["offline/echo", "ollama/llama3.3:70b", "openai/some/path"])
async def test_any_id_that_a_provider_answers_for_can_be_retrieved(served: Served, model_id: str) -> None:
    body = (await served.call("GET", f"/v1/models/{model_id}", headers=NO_BETA)).body
    assert (body["type"], body["id"], body["created_at"]) == ("model", model_id, "1970-01-01T00:00:00Z")


async def test_a_model_is_retired_from_its_day_on(nats_address: ServerAddress, tmp_path: Path, served: Served) -> None:
    dated = next(traits for traits in KNOWN_MODELS if traits.lifecycle == "deprecated")
    assert dated.retires_at is not None
    day_s = int(timestamp.to_datetime(dated.retires_at).timestamp())
    clock = FakeClock((day_s - 1) * 1_000_000)
    async with serve(nats_address, tmp_path / "later", clock=clock) as later:
        path = f"/v1/models/{dated.id}"
        assert (await later.call("GET", path)).body["lifecycle"] == "deprecated"
        clock.advance(1)
        assert (await later.call("GET", path)).body["lifecycle"] == "retired"
        listed = (await later.call("GET", "/v1/models?limit=1000")).body["data"]
        assert dated.id not in [model["id"] for model in listed]
        retired = (await later.call("GET", "/v1/models?limit=1000&lifecycle[]=retired")).body["data"]
        assert dated.id in [model["id"] for model in retired]


async def test_an_id_that_is_too_long_is_not_found(served: Served) -> None:
    assert (await served.call("GET", f"/v1/models/claude-{'x' * 249}")).status == 200
    answer = await served.call("GET", f"/v1/models/claude-{'x' * 250}")
    assert answer.error == (404, "not_found_error", "Model not found.")


async def test_an_id_without_a_provider_is_not_found(served: Served) -> None:
    answer = await served.call("GET", "/v1/models/acme-9", headers=NO_BETA)
    assert answer.error == (404, "not_found_error", "Model not found.")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("limit=0", "limit: must be between 1 and 1000"),
        ("limit=1001", "limit: must be between 1 and 1000"),
        ("after_id=nothing", 'after_id: there is no model "nothing" in this list'),
        ("after_id=a&before_id=b", "after_id: only one of after_id and before_id may be given"),
        ("lifecycle[]=new", 'lifecycle[0]: "new" is not a valid value; expected one of active, deprecated, retired'),
    ],
)
async def test_wrong_parameters_are_refused(served: Served, query: str, message: str) -> None:
    answer = await served.call("GET", f"/v1/models?{query}", headers=NO_BETA)
    assert answer.error == (400, "invalid_request_error", message)


def test_models_that_a_provider_names_are_listed_after_the_known_ones() -> None:
    provider = Provider(name="mine", kind="litellm", models=["my-model", "my-*", "claude-opus-4-8"])
    found = [traits.id for traits in listed(ModelConfigs((provider,)))]
    assert found == ["claude-opus-4-8", "my-model"]
