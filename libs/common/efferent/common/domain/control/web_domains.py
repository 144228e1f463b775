"""Which domains the web tools may be told to allow or to block."""

import re
from collections.abc import Sequence
from typing import Final

from efferent.common.domain.refusals import InvalidRequest

DOMAINS_MAX: Final = 64
DOMAIN_LENGTH_MAX: Final = 255

_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PATH: Final = re.compile(r"[!-~]*")
_NOT_PUBLIC: Final = frozenset({"localhost", "local", "internal", "localdomain", "invalid"})
_REGISTRY_LABELS: Final = frozenset({"ac", "co", "com", "edu", "gov", "net", "org"})
"""Second labels under which two-letter registries sell names: ``co.uk`` is a registry, not a site."""


def check_domains(field: str, domains: Sequence[str], *, path_allowed: bool) -> None:
    """Raise InvalidRequest, naming list and index, when the list or one of its domains is not acceptable."""
    name = field.rsplit(".", 1)[-1]
    if not domains:
        raise InvalidRequest(f"{field}: Empty list of domains is ambiguous. Provide at least one domain or null.")
    if len(domains) > DOMAINS_MAX:
        raise InvalidRequest(f"{field}: at most {DOMAINS_MAX} domains are allowed")
    seen: dict[str, int] = {}
    for index, domain in enumerate(domains):
        problem = _problem(domain, path_allowed=path_allowed)
        normal = domain.lower().removesuffix("/")
        if problem is None and normal in seen:
            problem = f"the same domain as {name}.{seen[normal]}"
        if problem is not None:
            raise InvalidRequest(f"{field}.{index}: {problem}")
        seen[normal] = index


def _problem(domain: str, *, path_allowed: bool) -> str | None:
    if not 1 <= len(domain) <= DOMAIN_LENGTH_MAX:
        return f"must be 1 to {DOMAIN_LENGTH_MAX} characters long"
    host, slash, path = domain.lower().removesuffix("/").partition("/")
    if slash and not path_allowed:
        return "must be a hostname without a path"
    if "://" in domain:
        return "must be a hostname without a scheme"
    if ":" in host:
        return "must be a hostname without a port"
    if not _PATH.fullmatch(path):
        return "must hold printable ASCII characters only"
    labels = host.split(".")
    if any(_LABEL.fullmatch(label) is None for label in labels):
        return "must be a plain ASCII hostname without wildcards or spaces"
    return _not_a_site(labels)


def _not_a_site(labels: Sequence[str]) -> str | None:
    last = labels[-1]
    if last in _NOT_PUBLIC:
        return "must be a public hostname"
    if len(labels) == 1:
        return "must have at least two labels"
    if last.isdigit():
        return "must be a hostname, not an IP address"
    if len(labels) == 2 and len(last) == 2 and labels[0] in _REGISTRY_LABELS:
        return "must be a site, not a registry's suffix"
    return None
