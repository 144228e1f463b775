"""Why a thread or session is idle, and what ``session.error`` reports."""

from typing import Annotated, Literal

from pydantic import Field

from efferent.common.domain.content import Shape
from efferent.common.domain.ids import EventId


class EndTurn(Shape):
    """The turn finished by itself."""

    type: Literal["end_turn"] = "end_turn"


class RequiresAction(Shape):
    """Blocked on an answer to each of these events."""

    type: Literal["requires_action"] = "requires_action"
    event_ids: tuple[EventId, ...]


class RetriesExhausted(Shape):
    """The retries, or a limit of the turn, are used up."""

    type: Literal["retries_exhausted"] = "retries_exhausted"


class BudgetReached(Shape):
    """The list cost reached the budget."""

    type: Literal["budget_reached"] = "budget_reached"


class Refusal(Shape):
    """The model refused; see the stop details."""

    type: Literal["refusal"] = "refusal"


StopReason = Annotated[
    EndTurn | RequiresAction | RetriesExhausted | BudgetReached | Refusal, Field(discriminator="type")
]

RefusalCategory = Literal["cyber", "bio", "frontier_llm", "reasoning_extraction", "general_harms"]


class RefusalStopDetails(Shape):
    """What was refused and why."""

    type: Literal["refusal"] = "refusal"
    category: RefusalCategory | None = None
    explanation: str | None = None


class Retrying(Shape):
    """The server tries again by itself."""

    type: Literal["retrying"] = "retrying"


class Exhausted(Shape):
    """This turn is dead; the session takes new input."""

    type: Literal["exhausted"] = "exhausted"


class Terminal(Shape):
    """The session ends."""

    type: Literal["terminal"] = "terminal"


RetryStatus = Annotated[Retrying | Exhausted | Terminal, Field(discriminator="type")]


class _Failure(Shape):
    message: str
    retry_status: RetryStatus


class UnknownError(_Failure):
    """Anything without a kind of its own."""

    type: Literal["unknown_error"] = "unknown_error"


class ModelOverloadedError(_Failure):
    """The model provider is overloaded."""

    type: Literal["model_overloaded_error"] = "model_overloaded_error"


class ModelRateLimitedError(_Failure):
    """The model provider limits the rate."""

    type: Literal["model_rate_limited_error"] = "model_rate_limited_error"


class ModelRequestFailedError(_Failure):
    """Any other failure of a model request."""

    type: Literal["model_request_failed_error"] = "model_request_failed_error"


class McpConnectionFailedError(_Failure):
    """An MCP server could not be reached."""

    type: Literal["mcp_connection_failed_error"] = "mcp_connection_failed_error"
    mcp_server_name: str


class McpAuthenticationFailedError(_Failure):
    """An MCP server refused the credential."""

    type: Literal["mcp_authentication_failed_error"] = "mcp_authentication_failed_error"
    mcp_server_name: str


class BillingError(_Failure):
    """The provider refuses for reasons of payment."""

    type: Literal["billing_error"] = "billing_error"


class CredentialHostUnreachableError(_Failure):
    """A credential's host is closed by the environment's networking."""

    type: Literal["credential_host_unreachable_error"] = "credential_host_unreachable_error"
    credential_id: str
    vault_id: str


class ToolUseLimitReachedError(_Failure):
    """Too many tool rounds in one turn."""

    type: Literal["tool_use_limit_reached_error"] = "tool_use_limit_reached_error"


class CompactionLimitReachedError(_Failure):
    """Too many compactions without progress."""

    type: Literal["compaction_limit_reached_error"] = "compaction_limit_reached_error"


class _RepositoryFailure(_Failure):
    repository_url: str | None = None


class RepositoryAuthenticationError(_RepositoryFailure):
    """The repository wants other credentials."""

    type: Literal["repository_authentication_error"] = "repository_authentication_error"


class RepositoryForbiddenError(_RepositoryFailure):
    """The repository is forbidden."""

    type: Literal["repository_forbidden_error"] = "repository_forbidden_error"


class RepositoryNotFoundError(_RepositoryFailure):
    """The repository does not exist."""

    type: Literal["repository_not_found_error"] = "repository_not_found_error"


class RepositoryCheckoutError(_RepositoryFailure):
    """The branch or commit could not be checked out."""

    type: Literal["repository_checkout_error"] = "repository_checkout_error"


class RepositoryCloneError(_RepositoryFailure):
    """The clone failed."""

    type: Literal["repository_clone_error"] = "repository_clone_error"


Failure = Annotated[
    UnknownError
    | ModelOverloadedError
    | ModelRateLimitedError
    | ModelRequestFailedError
    | McpConnectionFailedError
    | McpAuthenticationFailedError
    | BillingError
    | CredentialHostUnreachableError
    | ToolUseLimitReachedError
    | CompactionLimitReachedError
    | RepositoryAuthenticationError
    | RepositoryForbiddenError
    | RepositoryNotFoundError
    | RepositoryCheckoutError
    | RepositoryCloneError,
    Field(discriminator="type"),
]
