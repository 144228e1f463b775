"""Which provider answers for which model: the YAML file, the environment, and what is wrong with either."""

from pathlib import Path

import pytest

from efferent.common.domain.usage import ModelUsage
from efferent.common.model_config import ModelConfigs, UnknownModel, load, refuse_own_address
from efferent.common.model_provider import ModelConfigError

GOOD = """\
providers:
  - name: house
    kind: litellm
    models: ["house/*", "claude-haiku-*"]
    base_url: http://models.internal:8000/v1/
    api_key_env: HOUSE_KEY
    send_as: "openai/{name}"
    max_retries: 2
    silence_timeout_s: 30
    context_window: 32000
    max_output_tokens: 4000
    prices: {input: 0.5, output: 2}
    fallback: claude-opus-5
"""


def write(path: Path, text: str) -> dict[str, str]:
    file = path / "models.yaml"
    file.write_text(text)
    return {"EFFERENT_MODELS_FILE": str(file)}


def error_of(path: Path, text: str) -> str:
    with pytest.raises(ModelConfigError) as caught:
        load(write(path, text))
    return str(caught.value).replace(str(path), "")


@pytest.mark.parametrize(
    ("model", "provider", "sent"),
    [
        ("claude-opus-5", "anthropic", "claude-opus-5"),
        ("anthropic/claude-opus-5", "anthropic", "claude-opus-5"),
        ("gpt-9.1", "openai", "openai/gpt-9.1"),
        ("o3-mini", "openai", "openai/o3-mini"),
        ("openai/house/model", "openai", "openai/house/model"),
        ("ollama/qwen", "ollama", "ollama_chat/qwen"),
        ("hosted_vllm/meta/llama", "hosted_vllm", "hosted_vllm/meta/llama"),
        ("offline/echo", "offline", "offline/echo"),
    ],
)
def test_providers_that_need_no_file(model: str, provider: str, sent: str) -> None:
    found = load({}).route(model)
    assert found.name == provider
    assert found.sent_id(model) == sent


def test_model_without_provider_is_refused_with_the_patterns() -> None:
    with pytest.raises(UnknownModel) as caught:
        load({}).route("gpd-4")
    for pattern in ("'gpd-4'", "claude-*", "gpt-*", "offline/*", "ollama/*"):
        assert pattern in str(caught.value)


def test_base_urls_come_from_the_environment() -> None:
    configs = load({"ANTHROPIC_BASE_URL": "http://a:1/", "OPENAI_BASE_URL": "https://b/v1", "OPENAI_API_KEY": "k"})
    assert configs.route("claude-opus-5").base_url == "http://a:1"
    assert configs.route("gpt-9").base_url == "https://b/v1"
    assert configs.route("gpt-9").api_key_env == "OPENAI_API_KEY"


def test_openai_compatible_server_of_ones_own_needs_no_key() -> None:
    assert load({}).route("gpt-9").api_key_env == "OPENAI_API_KEY"
    assert load({"OPENAI_BASE_URL": "http://b/v1"}).route("gpt-9").api_key_env is None


def test_litellm_is_imported_at_the_start_only_when_it_is_meant(tmp_path: Path) -> None:
    assert not load({}).imports_litellm
    assert not load({"ANTHROPIC_API_KEY": "k"}).imports_litellm
    assert load({"OPENAI_API_KEY": "k"}).imports_litellm
    assert load({"OLLAMA_API_BASE": "http://localhost:11434"}).imports_litellm
    assert load(write(tmp_path, GOOD)).imports_litellm


def test_file_comes_first_and_first_match_wins(tmp_path: Path) -> None:
    configs = load(write(tmp_path, GOOD))
    house = configs.route("claude-haiku-5-5")
    assert house.name == "house"
    assert house.base_url == "http://models.internal:8000/v1"
    assert house.sent_id("house/m") == "openai/m"
    assert configs.route("claude-opus-5").name == "anthropic"


def test_settings_of_the_file_stand_over_the_catalog(tmp_path: Path) -> None:
    configs = load(write(tmp_path, GOOD))
    traits = configs.traits("house/m")
    assert (traits.context_window, traits.output_tokens_max) == (32_000, 4_000)
    assert configs.list_cost_micro_usd("house/m", ModelUsage(input_tokens=1_000, output_tokens=1_000)) == 2_500
    assert configs.list_cost_micro_usd("claude-haiku-5-5", ModelUsage(input_tokens=200_000)) == 100_000
    assert configs.list_cost_micro_usd("nobody's", ModelUsage(input_tokens=1)) is None


def test_provider_of_the_file_stands_in_for_the_one_of_its_name(tmp_path: Path) -> None:
    text = 'providers:\n  - {name: openai, kind: litellm, models: ["mine/*"]}\n'
    configs = load(write(tmp_path, text))
    assert configs.route("mine/x").name == "openai"
    with pytest.raises(UnknownModel):
        configs.route("gpt-9")


def test_empty_file_changes_nothing(tmp_path: Path) -> None:
    assert load(write(tmp_path, "# nothing yet\n")) == load({})


def test_unknown_key_is_named_with_line_path_and_allowed_keys(tmp_path: Path) -> None:
    message = error_of(tmp_path, GOOD.replace("base_url:", "base_ulr:"))
    assert message.startswith("/models.yaml:5: providers[0].base_ulr: unknown key; allowed here: api_key_env, ")
    assert "base_url" in message


def test_unknown_section_is_named(tmp_path: Path) -> None:
    assert error_of(tmp_path, "provider: []\n") == "/models.yaml:1: provider: unknown key; allowed here: providers"


def test_key_in_the_file_is_refused_and_not_repeated(tmp_path: Path) -> None:
    message = error_of(tmp_path, GOOD.replace("api_key_env: HOUSE_KEY", "api_key: sk-very-secret"))
    assert "name the variable that holds it with api_key_env" in message
    assert "sk-very-secret" not in message
    message = error_of(tmp_path, GOOD.replace("HOUSE_KEY", "sk-very-secret"))
    assert "providers[0].api_key_env" in message
    assert "sk-very-secret" not in message


@pytest.mark.parametrize(
    ("right", "wrong", "where"),
    [
        ("max_retries: 2", "max_retries: two", ":8: providers[0].max_retries: "),
        ("max_retries: 2", "max_retries: 99", ":8: providers[0].max_retries: "),
        ("kind: litellm", "kind: openai", ":3: providers[0].kind: "),
        ("name: house", "label: house", ":2: providers[0].name: Field required"),
        ('models: ["house/*", "claude-haiku-*"]', "models: house/*", ":4: providers[0].models: "),
        ('"openai/{name}"', '"openai/gpt"', ":7: providers[0].send_as: "),
        ("{input: 0.5, output: 2}", "{input: 0.5, out: 2}", "providers[0].prices.out: unknown key; allowed here: cac"),
        ("http://models.internal:8000/v1/", "models.internal", ":5: providers[0].base_url: "),
        ("http://models.internal:8000/v1/", "http://me:pw@x/", "must not hold a user or password"),
        ("fallback: claude-opus-5", "fallback: nobody", "no provider for model 'nobody'"),
        ("fallback: claude-opus-5", "fallback: house/other", "run in a circle"),
        ("fallback: claude-opus-5", "name: again", ":13: the key 'name' is given twice"),
        ("fallback: claude-opus-5", "fallback: [", ":14: not YAML"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, right: str, wrong: str, where: str) -> None:
    assert right in GOOD
    assert where in error_of(tmp_path, GOOD.replace(right, wrong))


def test_names_are_unique_and_offline_stays_offline(tmp_path: Path) -> None:
    twice = GOOD + GOOD.removeprefix("providers:\n")
    assert "two providers have the name 'house'" in error_of(tmp_path, twice)
    assert "offline" in error_of(tmp_path, GOOD.replace("name: house", "name: offline"))


def test_file_that_is_missing_or_too_long_or_not_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelConfigError, match=r"none\.yaml: No such file"):
        load({"EFFERENT_MODELS_FILE": str(tmp_path / "none.yaml")})
    assert "longer than" in error_of(tmp_path, "#" * (1024 * 1024 + 1))
    (tmp_path / "models.yaml").write_bytes(b"\xff")
    with pytest.raises(ModelConfigError, match="not UTF-8"):
        load({"EFFERENT_MODELS_FILE": str(tmp_path / "models.yaml")})


def test_wrong_address_in_the_environment_names_the_variable() -> None:
    with pytest.raises(ModelConfigError, match="ANTHROPIC_BASE_URL must be an http"):
        load({"ANTHROPIC_BASE_URL": "localhost:99"})


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://127.0.0.1:8400", "127.0.0.1"),
        ("http://localhost:8400/v1", "127.0.0.1"),
        ("http://127.0.0.2:8400", "0.0.0.0"),
        ("http://[::1]:8400", "127.0.0.1"),
        ("http://[::ffff:127.0.0.1]:8400", "127.0.0.1"),
        ("http://0.0.0.0:8400", "127.0.0.1"),
        ("http://box.lan:8400", "box.lan"),
        ("http://LOCALHOST:8400", "::"),
    ],
)
def test_own_address_stops_the_start(url: str, host: str) -> None:
    with pytest.raises(ModelConfigError, match="this server's own address"):
        refuse_own_address(load({"ANTHROPIC_BASE_URL": url}), host, 8400)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://127.0.0.1:8401", "127.0.0.1"),
        ("http://localhost:8400", "192.168.1.5"),
        ("http://models.internal:8400", "0.0.0.0"),
        ("https://api.anthropic.com", "127.0.0.1"),
    ],
)
def test_other_addresses_are_fine(url: str, host: str) -> None:
    configs: ModelConfigs = load({"ANTHROPIC_BASE_URL": url})
    refuse_own_address(configs, host, 8400)
