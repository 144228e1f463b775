"""Which ``anthropic-beta`` and ``anthropic-version`` values a route wants, checked like the hosted service.

Agents, sessions and all that is not named here ignore values that they do not know. Environments and files refuse them.
"""

from collections.abc import Sequence
from typing import Final

from efferent.gateway.errors import InvalidRequest, NotFound

MANAGED_AGENTS: Final = "managed-agents-2026-04-01"
ENVIRONMENTS_LEGACY: Final = "environments-2025-11-01"
MEMORY: Final = "agent-memory-2026-07-22"
VERSIONS: Final = ("2023-06-01", "2026-10-21")

NO_BETA_TEXT: Final = "not found"
NO_VERSION_TEXT: Final = "anthropic-version: header is required"

_FREE: Final = ("/v1/files", "/v1/models", "/v1/skills", "/v1/user_profiles")
_STRICT: Final = ("/v1/environments", "/v1/files")
_OWN: Final = {"/v1/organizations/webhooks": ("webhooks-2026-10-07",), "/v1/dreams": ("dreaming-2026-04-21",)}
"""Routes that want one of these values and not the general one."""
_EITHER: Final = {"/v1/environments": ENVIRONMENTS_LEGACY, "/v1/memory_stores": MEMORY}
"""Routes that take this value in the place of the general one, and never both."""
_VALUES_MAX: Final = 100

KNOWN: Final = frozenset(
    {
        MANAGED_AGENTS,
        ENVIRONMENTS_LEGACY,
        "managed-agents-2026-04-01-research-preview",
        "admin-user-sign-out-2026-10-08",
        "advisor-tool-2026-03-01",
        MEMORY,
        "analytics-usage-cost-2026-08-24",
        "cache-diagnosis-2026-04-07",
        "ce-claude-code-managed-settings-2026-10-06",
        "ce-plugins-2026-09-01",
        "ce-user-management-2026-07-13",
        "code-execution-2025-05-22",
        "compact-2026-01-12",
        "compact-2026-09-04",
        "computer-use-2024-10-22",
        "computer-use-2025-01-24",
        "computer-use-2025-11-24",
        "context-1m-2025-08-07",
        "context-management-2025-06-27",
        "dev-full-thinking-2025-05-14",
        "dreaming-2026-04-21",
        "experimental-claude-tag-2026-10-21",
        "extended-cache-ttl-2025-04-11",
        "fallback-credit-2026-06-01",
        "fallback-credit-2026-07-01",
        "fast-mode-2026-02-01",
        "files-api-2025-04-14",
        "inline-tools-2026-09-15",
        "interleaved-thinking-2025-05-14",
        "mcp-client-2025-04-04",
        "mcp-client-2025-11-20",
        "mcp-client-2026-09-15",
        "mcp-tunnels-2026-06-22",
        "message-batches-2024-09-24",
        "message-threads-2026-08-12",
        "mid-conversation-output-config-2026-07-01",
        "mid-conversation-system-clear-at-2026-08-21",
        "mid-conversation-tool-changes-2026-07-01",
        "model-context-window-exceeded-2025-08-26",
        "output-128k-2025-02-19",
        "output-300k-2026-03-24",
        "pdfs-2024-09-25",
        "prompt-caching-2024-07-31",
        "server-side-fallback-2026-06-01",
        "server-side-fallback-2026-07-01",
        "skills-2025-10-02",
        "spend-limit-reads-2026-09-26",
        "structured-outputs-2025-11-13",
        "task-budgets-2026-03-13",
        "telemetry-destinations-2026-08-11",
        "thinking-binding-controls-2026-08-01",
        "thinking-display-updates-2026-08-18",
        "thinking-token-count-2026-05-13",
        "token-counting-2024-11-01",
        "token-efficient-tools-2025-02-19",
        "user-profiles-2026-03-24",
        "user-profiles-2026-08-18",
        "user-profiles-2026-09-04",
        "user-profiles-billing-2026-10-01",
        "webhooks-2026-10-07",
    }
)
"""Every value that a current client library may send."""


def check_beta(path: str, headers: Sequence[str]) -> None:
    """Check the beta values of a request. Raises NotFound when the one that is needed is missing, InvalidRequest."""
    values = parse(headers)
    if _under(path, _STRICT):
        _refuse_unknown(values)
    if _under(path, _FREE):
        return
    for prefix, wanted in _OWN.items():
        if _under(path, (prefix,)):
            if not any(value in values for value in wanted):
                raise NotFound(NO_BETA_TEXT)
            return
    other = next((value for prefix, value in _EITHER.items() if _under(path, (prefix,))), None)
    if other is not None and other in values and MANAGED_AGENTS in values:
        raise InvalidRequest(f"`{MANAGED_AGENTS}` and `{other}` cannot both be in the `anthropic-beta` header.")
    if MANAGED_AGENTS not in values and (other is None or other not in values):
        raise NotFound(NO_BETA_TEXT)


def check_version(header: str | None) -> None:
    """Check the API version. Raises InvalidRequest when it is missing or unknown."""
    if header is None or header == "":
        raise InvalidRequest(NO_VERSION_TEXT)
    if header not in VERSIONS:
        shown = header[:50]
        raise InvalidRequest(f'anthropic-version: "{shown}" is not a valid version; expected {" or ".join(VERSIONS)}')


def parse(headers: Sequence[str]) -> tuple[str, ...]:
    """The values of all ``anthropic-beta`` headers of a request. Raises InvalidRequest when there are too many."""
    values = tuple(value for header in headers for part in header.split(",") if (value := part.strip()))
    if len(values) > _VALUES_MAX:
        raise InvalidRequest(f"anthropic-beta: more than {_VALUES_MAX} values")
    return values


def _refuse_unknown(values: Sequence[str]) -> None:
    if unknown := [value[:100] for value in values if value not in KNOWN]:
        shown = ", ".join(f"`{value}`" for value in unknown)
        raise InvalidRequest(f"Unexpected value(s) {shown} for the `anthropic-beta` header.")


def _under(path: str, prefixes: Sequence[str]) -> bool:
    return any(path == prefix or path.startswith(f"{prefix}/") for prefix in prefixes)
