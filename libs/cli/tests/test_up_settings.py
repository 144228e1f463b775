"""What ``efferent up`` reads from the environment and what it refuses."""

from pathlib import Path

import pytest

from efferent.cli.errors import CommandError
from efferent.cli.up_settings import UpSettings, read_settings


def read(tmp_path: Path, **environ: str) -> UpSettings:
    return read_settings({"EFFERENT_DATA_DIR": str(tmp_path), **environ})


def test_without_settings_the_server_is_on_loopback(tmp_path: Path) -> None:
    settings = read(tmp_path)
    assert settings.base_url == "http://127.0.0.1:8400"
    assert settings.is_loopback


def test_an_empty_variable_counts_as_not_set(tmp_path: Path) -> None:
    settings = read(tmp_path, EFFERENT_HOST="", EFFERENT_PORT="", EFFERENT_API_KEY="", NATS_URL="")
    assert (settings.port, settings.api_key, settings.nats_url) == (8400, None, None)


def test_the_data_folder_follows_the_xdg_convention(tmp_path: Path) -> None:
    assert read_settings({"XDG_DATA_HOME": str(tmp_path)}).data_dir == tmp_path / "efferent"
    assert read_settings({"XDG_DATA_HOME": ""}).data_dir == Path.home() / ".local/share/efferent"


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http", "8400.5"])
def test_a_port_that_is_none_is_refused(tmp_path: Path, port: str) -> None:
    with pytest.raises(CommandError, match=f"EFFERENT_PORT={port} is not a number from 1 to 65535"):
        read(tmp_path, EFFERENT_PORT=port)


@pytest.mark.parametrize("port", ["1", "65535"])
def test_the_first_and_the_last_port_are_taken(tmp_path: Path, port: str) -> None:
    assert read(tmp_path, EFFERENT_PORT=port).port == int(port)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "server.example"])
def test_plain_text_beyond_this_machine_is_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(CommandError, match="must not travel in plain text"):
        read(tmp_path, EFFERENT_HOST=host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "::1"])
def test_plain_text_on_this_machine_is_fine(tmp_path: Path, host: str) -> None:
    assert read(tmp_path, EFFERENT_HOST=host).is_loopback


def test_plain_text_behind_a_proxy_is_an_explicit_choice(tmp_path: Path) -> None:
    settings = read(tmp_path, EFFERENT_HOST="0.0.0.0", EFFERENT_ALLOW_PLAINTEXT="1")
    assert settings.base_url == "http://127.0.0.1:8400"


def test_with_tls_any_host_is_fine(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.touch()
    key.touch()
    settings = read(tmp_path, EFFERENT_HOST="::", EFFERENT_TLS_CERT=str(cert), EFFERENT_TLS_KEY=str(key))
    assert settings.base_url == "https://127.0.0.1:8400"


def test_an_address_of_ip_version_6_is_bracketed(tmp_path: Path) -> None:
    assert read(tmp_path, EFFERENT_HOST="::1").base_url == "http://[::1]:8400"


def test_half_of_tls_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="belong together"):
        read(tmp_path, EFFERENT_TLS_CERT="/cert.pem")


def test_a_missing_certificate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="does not exist"):
        read(tmp_path, EFFERENT_TLS_CERT="/nonexistent/cert.pem", EFFERENT_TLS_KEY="/nonexistent/key.pem")
