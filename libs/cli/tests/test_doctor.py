"""``efferent doctor``: what it finds, what it advises, its exit code, and that it never prints a secret."""

import asyncio
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from efferent.cli.doctor import machine
from efferent.cli.log_access import connected, log_settings
from efferent.common.jetstream.data_keys import JetStreamDataKeys
from efferent.common.runtime.free_port import free_port
from efferent.common.secrets import root_key
from efferent.common.secrets.box import SecretBox
from efferent.common.secrets.root_key import SecretSettings
from libs.cli.tests.command_rig import environ_of, run, serving, with_log

TLS: Final = Path(__file__).parent / "tls"
SECRETS: Final = ("sk-provider-secret-1", "sk-own-secret-2", root_key.generate())
Printed = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment without any setting but the data folder and a free port; sandboxes are tried in one test only."""
    for name in ("NATS_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "EFFERENT_API_KEY", "EFFERENT_MODELS_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EFFERENT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("EFFERENT_PORT", str(free_port()))

    async def untried() -> list[object]:
        return []

    monkeypatch.setattr("efferent.cli.doctor.machine.sandboxes", untried)


def examined(capsys: Printed) -> tuple[int, dict[str, list[dict[str, str]]]]:
    """The exit code, and the findings by what was looked at."""
    code, printed, _ = run(capsys, "doctor", "--json")
    told: dict[str, Any] = json.loads(printed)
    assert told["healthy"] == (code == 0)
    for secret in SECRETS:
        assert secret not in printed
    found: dict[str, list[dict[str, str]]] = {}
    for finding in told["findings"]:
        found.setdefault(finding["check"], []).append(finding)
    return code, found


def states(findings: list[dict[str, str]]) -> set[str]:
    return {finding["state"] for finding in findings}


def test_a_machine_before_the_first_start_is_healthy_and_told_what_to_do(capsys: Printed) -> None:
    code, found = examined(capsys)
    assert code == 0
    (server,) = found["server"]
    assert (server["state"], server["remedy"]) == ("warning", "start 'efferent up'")
    (models,) = found["models"]
    assert (models["state"], "ANTHROPIC_API_KEY" in models["remedy"]) == ("warning", True)
    assert states(found["nats-server"] + found["data folder"] + found["secrets"] + found["TLS"]) == {"ok"}


def test_people_get_a_line_each_and_the_remedy_below(capsys: Printed) -> None:
    code, printed, _ = run(capsys, "doctor")
    assert code == 0
    lines = printed.splitlines()
    index = next(i for i, line in enumerate(lines) if line.startswith("warning  server"))
    assert lines[index + 1].strip() == "-> start 'efferent up'"


def test_keys_are_named_by_their_variables_and_never_shown(capsys: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", SECRETS[0])
    monkeypatch.setenv("EFFERENT_API_KEY", SECRETS[1])
    monkeypatch.setenv("EFFERENT_SECRET_KEY", SECRETS[2])
    code, found = examined(capsys)
    assert code == 0
    (models,) = found["models"]
    assert (models["state"], "ANTHROPIC_API_KEY is set" in models["text"]) == ("ok", True)
    assert "EFFERENT_SECRET_KEY" in found["secrets"][0]["text"]


@pytest.mark.parametrize(
    ("variable", "value", "check", "words"),
    [
        ("EFFERENT_PORT", "none", "settings", "EFFERENT_PORT=none"),
        ("EFFERENT_API_KEY", "two words", "settings", "EFFERENT_API_KEY"),
        ("EFFERENT_SECRET_KEY", "short", "secrets", "EFFERENT_SECRET_KEY"),
        ("EFFERENT_MODELS_FILE", "/nowhere/models.yaml", "models", "/nowhere/models.yaml"),
        ("EFFERENT_BLOBS", "s3", "blobs", "EFFERENT_S3_ENDPOINT"),
        ("EFFERENT_BLOBS", "tape", "blobs", "EFFERENT_BLOBS"),
        ("NATS_URL", "nats://127.0.0.1:1", "log", "does not answer"),
    ],
)
def test_what_is_wrong_fails_and_is_named(
    capsys: Printed, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, check: str, words: str
) -> None:
    monkeypatch.setattr("efferent.cli.log_access.CONNECT_WITHIN_S", 0.2)
    monkeypatch.setenv(variable, value)
    code, found = examined(capsys)
    assert code == 1
    failed = [finding for finding in found[check] if finding["state"] == "failed"]
    assert failed, found[check]
    assert words in failed[0]["text"] or check in ("log",)


def test_a_provider_of_the_models_file_without_its_key_is_warned_of(
    capsys: Printed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "models.yaml"
    file.write_text("providers: [{name: mine, kind: litellm, models: ['mine/*'], api_key_env: MY_OWN_KEY}]")
    monkeypatch.setenv("EFFERENT_MODELS_FILE", str(file))
    found = examined(capsys)[1]
    assert ("mine has no key", "set MY_OWN_KEY") in [(each["text"], each["remedy"]) for each in found["models"]]


def test_the_data_folder_is_looked_at(capsys: Printed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    (data / "format").write_text("1\n")
    found = examined(capsys)[1]
    assert [(each["state"], each["remedy"]) for each in found["data folder"]] == [
        ("warning", f"chmod 700 {data}"),
        ("ok", ""),
    ]
    (data / "format").write_text("99\n")
    code, found = examined(capsys)
    assert (code, found["data folder"][-1]["remedy"]) == (1, "use the newer release")
    (data / "restoring").touch()
    code, found = examined(capsys)
    assert (code, found["data folder"][-1]["remedy"]) == (1, "run 'efferent restore' again")


@pytest.mark.parametrize(
    ("free", "state"),
    [
        (machine.FREE_WARNING_BYTES, "ok"),
        (machine.FREE_WARNING_BYTES - 1, "warning"),
        (machine.FREE_FAILED_BYTES, "warning"),
        (machine.FREE_FAILED_BYTES - 1, "failed"),
    ],
)
def test_a_disk_that_fills_is_told(capsys: Printed, monkeypatch: pytest.MonkeyPatch, free: int, state: str) -> None:
    usage = shutil.disk_usage("/")._replace(free=free)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    code, found = examined(capsys)
    assert (found["disk"][0]["state"], code) == (state, 1 if state == "failed" else 0)


def test_a_certificate_that_can_be_used_is_told_from_one_that_cannot(
    capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = sorted(TLS.glob("*cert*"))[0], sorted(TLS.glob("*key*"))[0]
    monkeypatch.setenv("EFFERENT_TLS_CERT", str(certificate))
    monkeypatch.setenv("EFFERENT_TLS_KEY", str(key))
    assert "valid until" in examined(capsys)[1]["TLS"][0]["text"]
    monkeypatch.setenv("EFFERENT_TLS_KEY", str(certificate))
    code, found = examined(capsys)
    assert (code, "cannot be used together" in found["TLS"][0]["text"]) == (1, True)


@pytest.fixture
def nats_environ(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A server of its own for each test: one counts what the streams hold, and tests come in any order."""
    with serving(tmp_path_factory.mktemp("nats")) as spec:
        yield environ_of(spec, tmp_path_factory.mktemp("data"))


def test_a_log_that_answers_is_told_with_what_it_holds(
    capsys: Printed, monkeypatch: pytest.MonkeyPatch, nats_environ: dict[str, str]
) -> None:
    for name, value in nats_environ.items():
        monkeypatch.setenv(name, value)
    with_log(lambda log: log.last_sequence())
    found = examined(capsys)[1]
    assert [each["text"] for each in found["log"]] == [
        *(f"{name} holds 0 records, 0 MiB" for name in ("SESSIONS", "CONTROL", "WORK", "KEYS")),
        *(f"{name}: stream not found" for name in ("WEBHOOKS", "WEBHOOK_FAILURES")),
    ]
    assert [each["remedy"] for each in found["log"]][-1] == "the first start makes it"
    assert states(found["blobs"]) == {"ok"}


def test_a_root_key_that_is_not_the_one_of_the_log_fails(
    capsys: Printed, monkeypatch: pytest.MonkeyPatch, nats_environ: dict[str, str]
) -> None:
    for name, value in nats_environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("EFFERENT_SECRET_KEY", SECRETS[2])
    with_log(lambda log: log.last_sequence())

    async def first_start() -> None:
        async with connected(log_settings(os.environ)) as connection:
            await SecretBox(JetStreamDataKeys(connection), SecretSettings().root_keys(Path())).check()

    asyncio.run(first_start())
    assert states(examined(capsys)[1]["secrets"]) == {"ok"}
    monkeypatch.setenv("EFFERENT_SECRET_KEY", root_key.generate())
    code, found = examined(capsys)
    assert (code, found["secrets"][0]["state"]) == (1, "failed")
    assert "put back the key" in found["secrets"][0]["remedy"]


async def test_a_sandbox_is_tried_for_real(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    (finding,) = await machine.sandboxes()
    assert (finding.state, finding.text) == ("ok", "a command ran in a sandbox (bubblewrap)")
