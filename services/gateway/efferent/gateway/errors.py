"""What a refused request is answered with: one tree of errors, one mapping of exceptions, one envelope.

ApiError                    status, ``error.type``, message, details; ``final``: trying again cannot help
+- InvalidRequest           400 invalid_request_error
+- Unauthenticated          401 authentication_error
+- PermissionDenied         403 permission_error
+- NotFound                 404 not_found_error
+- MethodNotAllowed         405 invalid_request_error
+- Conflict                 409 conflict_error, final
+- HeartbeatRefused         412 invalid_request_error
+- RequestTooLarge          413 request_too_large
+- RateLimited              429 rate_limit_error, with ``retry-after``
+- InternalError            500 api_error
+- Overloaded               529 overloaded_error

Routes raise these or the domain's own refusals; nothing else in the gateway knows a status code of an error.
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final

import orjson
from aiohttp import web

from efferent.common.domain import refusals
from efferent.common.ports import BlobsUnavailable, LogConflict, LogUnavailable

NOT_FOUND_TEXT: Final = "Not found"


class ApiError(Exception):
    """A refusal that the client may see."""

    status: ClassVar[int] = 500
    type: str = "api_error"
    final: ClassVar[bool] = False

    def __init__(self, message: str, *, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class InvalidRequest(ApiError):
    """The request is wrong, or wrong in the present state."""

    status = 400
    type = "invalid_request_error"


class Unauthenticated(ApiError):
    """No key, or none that is valid: the text never says which."""

    status = 401
    type = "authentication_error"

    def __init__(self) -> None:
        super().__init__("Authentication failed")


class PermissionDenied(ApiError):
    """The key is valid but may not do this."""

    status = 403
    type = "permission_error"


class NotFound(ApiError):
    """There is no such thing, or not in the caller's workspace."""

    status = 404
    type = "not_found_error"


class MethodNotAllowed(ApiError):
    """The path is known, this method of it is not."""

    status = 405
    type = "invalid_request_error"

    def __init__(self, allowed: Iterable[str]) -> None:
        super().__init__("Method not allowed")
        self.allow = ", ".join(sorted(allowed))
        """The header ``Allow``."""


class Conflict(ApiError):
    """Another change came first, or the name is taken; the same request will be refused again."""

    status = 409
    final = True

    def __init__(
        self,
        message: str,
        *,
        details: Mapping[str, Any] | None = None,
        type: refusals.ConflictType = "conflict_error",
    ) -> None:
        super().__init__(message, details=details)
        self.type = type


class HeartbeatRefused(ApiError):
    """The lease is not what the heartbeat expected: another worker may hold it."""

    status = 412
    type = "invalid_request_error"
    final = True

    def __init__(self, message: str, *, current_state: Mapping[str, Any]) -> None:
        details = {"error_code": "heartbeat_precondition_failed", "current_state": current_state}
        super().__init__(message, details=details)


class RequestTooLarge(ApiError):
    """The body is longer than it may be."""

    status = 413
    type = "request_too_large"


class RateLimited(ApiError):
    """The key asks more often than it may."""

    status = 429
    type = "rate_limit_error"

    def __init__(self, request_class: str, per_minute: int, *, retry_after_s: int) -> None:
        super().__init__(f"This API key may send {per_minute} {request_class} requests per minute.")
        self.retry_after_s = retry_after_s


class InternalError(ApiError):
    """A defect of ours; the log has the rest."""

    def __init__(self) -> None:
        super().__init__("Internal server error")


class Overloaded(ApiError):
    """The log does not answer, is full, or a projection is too far behind. Trying again may help."""

    status = 529
    type = "overloaded_error"

    def __init__(self, message: str = "Overloaded. Please try again.") -> None:
        super().__init__(message)


def as_api_error(error: BaseException) -> ApiError | None:
    """The refusal that an exception means; None when it is a defect."""
    match error:
        case ApiError():
            return error
        case refusals.InvalidRequest():
            return InvalidRequest(error.message, details=_details(error))
        case refusals.NotFound():
            return NotFound(error.message, details=_details(error))
        case refusals.Conflict():
            return Conflict(error.message, details=_details(error), type=error.type)
        case refusals.Forbidden():
            return PermissionDenied(error.message, details=_details(error))
        case refusals.TooLarge():
            return RequestTooLarge(error.message, details=_details(error))
        case LogUnavailable() | LogConflict() | BlobsUnavailable():
            return Overloaded()
        case web.HTTPRequestEntityTooLarge():
            return RequestTooLarge("Request body is too large.")
        case web.HTTPNotFound():
            return NotFound(NOT_FOUND_TEXT)
        case web.HTTPMethodNotAllowed():
            return MethodNotAllowed(error.allowed_methods)
        case web.HTTPException() if 400 <= error.status < 500:
            return InvalidRequest("The request could not be read.")
        case _:
            return None


def envelope(error: ApiError, request_id: str) -> bytes:
    """The body of the answer."""
    body: dict[str, Any] = {"type": error.type, "message": error.message}
    if error.details is not None:
        body["details"] = error.details
    return orjson.dumps({"type": "error", "error": body, "request_id": request_id})


def to_response(error: ApiError, request_id: str) -> web.Response:
    """The whole answer."""
    headers = {"x-should-retry": "false"} if error.final else {}
    if isinstance(error, RateLimited):
        headers["retry-after"] = str(error.retry_after_s)
    if isinstance(error, MethodNotAllowed):
        headers["allow"] = error.allow
    body = envelope(error, request_id)
    return web.Response(status=error.status, body=body, content_type="application/json", headers=headers)


def _details(error: refusals.Refused) -> dict[str, str] | None:
    details = dict(error.details or {})
    if error.code is not None:
        details["error_code"] = error.code
    return details or None
