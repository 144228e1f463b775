"""What a provider's refusal means for a session: HTTP status and error type become a ModelFailure.

Messages name the provider and the variable to set. They never hold a key: what the provider said is scrubbed, and left
out altogether where the key itself was refused, since some providers quote it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

from efferent.brain.ports import ModelFailure

REMARK_CHARS_MAX: Final = 500
RETRY_AFTER_S_MAX: Final = 3_600.0

_STATUS_BY_TYPE: Final = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""Errors that come inside a stream have a type and no status."""

_OVERFLOW_REMARKS: Final = ("prompt is too long", "exceed context limit", "maximum context length", "context_length")
_BILLING_REMARKS: Final = ("credit balance is too low", "exceeded your current quota", "insufficient_quota")


class ContextOverflow(Exception):
    """The provider refuses the request because it is longer than the model's context window."""


@dataclass(frozen=True, slots=True)
class Account:
    """How failures speak of a provider."""

    provider: str
    key_variables: tuple[str, ...]
    """Variables that may hold the key, the usual one first."""
    secrets: tuple[str, ...] = ()
    """Values that no message may hold."""

    def scrub(self, remark: str) -> str:
        """The provider's own words, shortened and without secrets."""
        for secret in self.secrets:
            remark = remark.replace(secret, "***")
        return " ".join(remark.split())[:REMARK_CHARS_MAX]

    def missing_key(self) -> ModelFailure:
        """No key is set."""
        names = " or ".join(self.key_variables)
        return ModelFailure(
            "model_request_failed",
            "exhausted",
            f"no key for model provider {self.provider!r}: set {names} and restart the server",
        )


def retryable(account: Account, what: str) -> ModelFailure:
    """The connection or the stream failed; the same request may succeed."""
    return ModelFailure("model_request_failed", "retryable", f"{account.provider}: {what}")


def from_error_type(account: Account, error_type: str, remark: str) -> ModelFailure:
    """An error that came inside a stream. Raises ContextOverflow."""
    return from_status(account, _STATUS_BY_TYPE.get(error_type, 500), error_type, remark, {})


def from_status(
    account: Account, status: int, error_type: str, remark: str, headers: Mapping[str, str]
) -> ModelFailure:
    """A refusal by HTTP status. Raises ContextOverflow when the request is too long for the model."""
    lowered = remark.lower()
    said = f"{account.provider} answered {status}" + (f" ({error_type})" if error_type else "")
    detail = f"{said}: {account.scrub(remark)}" if remark else said
    if status in (400, 413, 422) and any(phrase in lowered for phrase in _OVERFLOW_REMARKS):
        raise ContextOverflow(detail)
    if status == 402 or (status in (400, 403, 429) and any(phrase in lowered for phrase in _BILLING_REMARKS)):
        return ModelFailure("billing", "exhausted", detail)
    wait_s = retry_after_s(headers)
    verdict = headers.get("x-should-retry", "")
    match status:
        case 401 | 403:
            names = " or ".join(account.key_variables) or "the provider's credentials"
            return ModelFailure("model_request_failed", "exhausted", f"{said}: the key is refused; check {names}")
        case 429:
            return ModelFailure(
                "model_rate_limited", "exhausted" if verdict == "false" else "retryable", detail, retry_after_s=wait_s
            )
        case 529:
            return ModelFailure("model_overloaded", "retryable", detail, retry_after_s=wait_s)
        case 503 if error_type == "overloaded_error":
            return ModelFailure("model_overloaded", "retryable", detail, retry_after_s=wait_s)
        case 400 | 413 | 422:
            return ModelFailure("model_request_failed", "terminal", detail)
        case 408 | 409 | 425:
            return ModelFailure("model_request_failed", "retryable", detail, retry_after_s=wait_s)
        case _ if status >= 500:
            return ModelFailure(
                "model_request_failed", "exhausted" if verdict == "false" else "retryable", detail, retry_after_s=wait_s
            )
        case _:
            # 404 is an unknown model; redirects and other refusals are a wrong base URL. Both want an operator.
            return ModelFailure("model_request_failed", "exhausted", detail)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that the provider asks to wait; None when it does not say or says nonsense."""
    try:
        if milliseconds := headers.get("retry-after-ms"):
            seconds = float(milliseconds) / 1_000
        elif not (text := headers.get("retry-after")):
            return None
        elif text.replace(".", "", 1).isdigit():
            seconds = float(text)
        else:
            # The provider's own clock is the right one to measure its date against.
            seconds = (parsedate_to_datetime(text) - parsedate_to_datetime(headers["date"])).total_seconds()
    except (ValueError, KeyError, TypeError):
        return None
    return min(seconds, RETRY_AFTER_S_MAX) if seconds >= 0 else None
