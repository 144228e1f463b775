"""The real command, as a person types it: what it prints, what it refuses."""

import os
import re
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Final

import pytest

from efferent.cli.children import command_line
from efferent.common.runtime.free_port import free_port

WITHIN_S: Final = 30


def efferent(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}}
    return subprocess.run(
        [*command_line(arguments[0]), *arguments[1:]],
        env=kept | environ,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )


@pytest.fixture
def port() -> int:
    return free_port()


def test_help_names_every_command() -> None:
    done = efferent("--help")
    assert done.returncode == 0
    for command in ("up", "demo", "keys", "check-config", "gateway", "brain", "hands", "automation", "nats", "version"):
        assert re.search(rf"\n    {command}\s", done.stdout)


def test_help_imports_nothing_heavy() -> None:
    """A command that only prints must not pay for what the services need."""
    program = (
        "import sys; from efferent.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'aiohttp', 'grpc', 'litellm', 'nats', 'pydantic'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_the_version_is_the_distributions() -> None:
    assert efferent("version").stdout.strip() == version("efferent")


@pytest.mark.parametrize("arguments", [("no-such-command",), ("keys",), ("up", "--no-such-option")])
def test_wrong_usage_ends_with_two(arguments: tuple[str, ...]) -> None:
    assert efferent(*arguments).returncode == 2


def test_up_refuses_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = efferent("up", EFFERENT_DATA_DIR=str(tmp_path), EFFERENT_PORT=str(port))
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in done.stderr
    assert "EFFERENT_PORT" in done.stderr


def test_up_refuses_an_address_of_another_machine(tmp_path: Path) -> None:
    environ = {"EFFERENT_HOST": "192.0.2.1", "EFFERENT_ALLOW_PLAINTEXT": "1"}
    done = efferent("up", EFFERENT_DATA_DIR=str(tmp_path), **environ)
    assert done.returncode == 2
    assert "cannot listen on 192.0.2.1 port 8400" in done.stderr


def test_up_refuses_plain_text_beyond_this_machine(tmp_path: Path) -> None:
    done = efferent("up", EFFERENT_DATA_DIR=str(tmp_path), EFFERENT_HOST="0.0.0.0")
    assert done.returncode == 2
    assert "EFFERENT_TLS_CERT" in done.stderr


def test_up_refuses_a_model_address_that_is_the_server_itself(tmp_path: Path, port: int) -> None:
    environ = {"EFFERENT_PORT": str(port), "ANTHROPIC_BASE_URL": f"http://localhost:{port}"}
    done = efferent("up", EFFERENT_DATA_DIR=str(tmp_path), **environ)
    assert done.returncode == 2
    assert "this server's own address" in done.stderr


def test_up_refuses_an_unknown_key_in_the_models_file_and_says_where(tmp_path: Path, port: int) -> None:
    models = tmp_path / "models.yaml"
    models.write_text("providers:\n  - name: mine\n    kind: litellm\n    models: ['mine/*']\n    api_kye_env: KEY\n")
    done = efferent("up", EFFERENT_DATA_DIR=str(tmp_path), EFFERENT_PORT=str(port), EFFERENT_MODELS_FILE=str(models))
    assert done.returncode == 2
    assert str(models) in done.stderr
    assert "api_kye_env" in done.stderr


def test_up_refuses_a_key_that_no_client_can_send(tmp_path: Path, port: int) -> None:
    done = efferent("up", EFFERENT_DATA_DIR=str(tmp_path), EFFERENT_PORT=str(port), EFFERENT_API_KEY="two words")
    assert done.returncode == 2
    assert "EFFERENT_API_KEY" in done.stderr
    assert "two words" not in done.stderr


def test_check_config_is_silent_when_all_is_well() -> None:
    done = efferent("check-config")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("EFFERENT_MCP_ALLOW", "10.0.0.1/8", "EFFERENT_MCP_ALLOW: Value error, '10.0.0.1/8' is not a network"),
        ("EFFERENT_WEBHOOK_ALLOW", "http://x", "EFFERENT_WEBHOOK_ALLOW: Value error, 'http://x' is neither a host"),
        ("EFFERENT_ENROLLMENT_URL", "me.example", "EFFERENT_ENROLLMENT_URL: Value error, must be an http:// or"),
        ("EFFERENT_SECRET_KEY", "s3cret", "EFFERENT_SECRET_KEY holds a key"),
        ("EFFERENT_SECRET_KEY_FILE", "/nowhere/key", "/nowhere/key cannot be read"),
        ("EFFERENT_BLOBS", "s3", "EFFERENT_BLOBS=s3 needs EFFERENT_S3_ENDPOINT"),
        ("EFFERENT_LOG_LEVEL", "LOUD", "EFFERENT_LOG_LEVEL"),
    ],
)
def test_a_wrong_setting_of_a_service_is_refused_before_anything_starts(name: str, value: str, said: str) -> None:
    done = efferent("check-config", **{name: value})
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "s3cret" not in done.stderr


def test_keys_without_a_server_say_what_to_do(tmp_path: Path) -> None:
    done = efferent("keys", "create", EFFERENT_DATA_DIR=str(tmp_path))
    assert done.returncode == 2
    assert "start 'efferent up'" in done.stderr


def test_demo_without_a_key_says_what_to_do(tmp_path: Path) -> None:
    done = efferent("demo", EFFERENT_DATA_DIR=str(tmp_path))
    assert done.returncode == 2
    assert "EFFERENT_API_KEY" in done.stderr


def test_demo_without_a_server_says_what_to_do(tmp_path: Path, port: int) -> None:
    environ = {"EFFERENT_API_KEY": "some-key", "EFFERENT_PORT": str(port)}
    done = efferent("demo", EFFERENT_DATA_DIR=str(tmp_path), **environ)
    assert done.returncode == 2
    assert "is 'efferent up' running?" in done.stderr


def test_nats_without_an_address_says_what_to_do(tmp_path: Path) -> None:
    done = efferent("nats", EFFERENT_DATA_DIR=str(tmp_path))
    assert done.returncode == 2
    assert "'efferent up' makes one" in done.stderr


def test_a_wrong_setting_of_a_service_is_named(tmp_path: Path) -> None:
    done = efferent("brain", EFFERENT_DATA_DIR=str(tmp_path), EFFERENT_LOG_LEVEL="LOUD")
    assert done.returncode == 2
    assert "log_level" in done.stderr.lower()
