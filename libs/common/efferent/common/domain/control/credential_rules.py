"""What a credential may say: server URLs, variable names, hosts."""

import re
from ipaddress import AddressValueError, IPv4Address
from typing import Final
from urllib.parse import urlsplit

from efferent.common.domain.refusals import InvalidRequest
from efferent.common.domain.resources.vault import (
    CredentialAuth,
    EnvironmentVariableAuth,
    LimitedCredentialNetworking,
    McpOAuthAuth,
    StaticBearerAuth,
)
from efferent.common.domain.timestamp import Timestamp

HOSTS_MAX: Final = 16
HOST_LENGTH_MAX: Final = 253
URL_LENGTH_MAX: Final = 2_048

_DEFAULT_PORTS: Final = {"https": 443, "http": 80}
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_LABEL: Final = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST: Final = re.compile(rf"(\*\.)?({_LABEL}\.)*{_LABEL}", re.I)
_LAST_LABEL_NUMBER: Final = re.compile(r"(^|\.)(\d+|0x[0-9a-f]*)$", re.I)


def server_key(url: str) -> str:
    """What two URLs of one MCP server have in common.

    Scheme and host in lower case, no default port, no slash at the end; path, query and other ports matter.
    """
    parts = urlsplit(url)
    scheme, host = parts.scheme.lower(), (parts.hostname or "").lower()
    port = "" if parts.port in (None, _DEFAULT_PORTS.get(scheme)) else f":{parts.port}"
    query = f"?{parts.query}" if parts.query else ""
    return f"{scheme}://{host}{port}{parts.path.rstrip('/')}{query}"


def check_auth(auth: CredentialAuth) -> None:
    """Raises InvalidRequest naming the field."""
    match auth:
        case McpOAuthAuth():
            check_url("auth.mcp_server_url", auth.mcp_server_url)
            if auth.refresh is not None:
                check_url("auth.refresh.token_endpoint", auth.refresh.token_endpoint)
        case StaticBearerAuth():
            check_url("auth.mcp_server_url", auth.mcp_server_url)
        case EnvironmentVariableAuth():
            _check_variable(auth)


def check_url(place: str, url: str) -> None:
    """An absolute http or https URL with a host; it is shown, so no secret may be in it. Raises InvalidRequest."""
    netloc = _netloc(url)
    if netloc is None:
        raise InvalidRequest(f"{place}: must be an absolute http or https URL")
    if "@" in netloc:
        raise InvalidRequest(f"{place}: must not hold a user name or password")
    if len(url) > URL_LENGTH_MAX:
        raise InvalidRequest(f"{place}: must be at most {URL_LENGTH_MAX} characters long")


def _netloc(url: str) -> str | None:
    """What names the server; None when the URL names none that could be asked."""
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme.lower() in _DEFAULT_PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts.netloc if is_valid and not any(character.isspace() for character in url) else None


def check_expiry(expires_at: Timestamp | None, now: Timestamp) -> None:
    """A token that is given must not be over yet. Raises InvalidRequest."""
    if expires_at is not None and expires_at <= now:
        raise InvalidRequest("auth.expires_at must be in the future.")


def _check_variable(auth: EnvironmentVariableAuth) -> None:
    if _VARIABLE.fullmatch(auth.secret_name) is None:
        raise InvalidRequest(
            "auth.secret_name: must be the name of an environment variable: letters, digits and _, not beginning "
            "with a digit, at most 255 characters"
        )
    if not (auth.injection_location.header or auth.injection_location.body):
        raise InvalidRequest("auth.injection_location: at least one of header and body must be true")
    if isinstance(auth.networking, LimitedCredentialNetworking):
        hosts = auth.networking.allowed_hosts
        if not 1 <= len(hosts) <= HOSTS_MAX:
            raise InvalidRequest(f"auth.networking.allowed_hosts: must have 1 to {HOSTS_MAX} entries")
        for index, host in enumerate(hosts):
            if not _is_host(host):
                raise InvalidRequest(
                    f"auth.networking.allowed_hosts.{index}: must be a hostname, an IPv4 address, or "
                    '"*." and a hostname; no URL, port, path or IPv6 address'
                )


def _is_host(host: str) -> bool:
    if len(host) > HOST_LENGTH_MAX or _HOST.fullmatch(host) is None:
        return False
    if _LAST_LABEL_NUMBER.search(host) is None:
        return True
    try:
        IPv4Address(host)
    except AddressValueError:
        return False
    return True
