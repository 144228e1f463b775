"""Why a command can be refused.

Refused                     the command cannot be carried out in this state
+- InvalidRequest           400: the request itself is wrong, or wrong now; the message names the place
+- NotFound                 404: what the command names does not exist
+- Conflict                 409: somebody else was quicker
+- Forbidden                403: the caller may not do this
+- TooLarge                 413: a body or a record is longer than it may be
+- ClaimLost                a brain's command under a claim that is no longer the session's; never a client's fault
"""

from collections.abc import Mapping
from typing import Literal

ConflictType = Literal["conflict_error", "memory_precondition_failed_error", "memory_path_conflict_error"]
"""The ``error.type`` values that a 409 may have."""


class Refused(Exception):
    """The command cannot be carried out; the message says why and where.

    ``code`` is the API's ``error.details.error_code`` where it has one for the case; ``details`` are further ones.
    """

    def __init__(self, message: str, *, code: str | None = None, details: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.details = details


class InvalidRequest(Refused):
    """The request is wrong, or wrong in this state (HTTP 400)."""


class NotFound(Refused):
    """What the command names does not exist (HTTP 404)."""


class Conflict(Refused):
    """Another change came first (HTTP 409); ``type`` is the answer's ``error.type``."""

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        details: Mapping[str, str] | None = None,
        type: ConflictType = "conflict_error",
    ) -> None:
        super().__init__(message, code=code, details=details)
        self.type: ConflictType = type


class Forbidden(Refused):
    """The caller may not do this (HTTP 403)."""


class TooLarge(Refused):
    """A body or a record is longer than it may be (HTTP 413)."""


class ClaimLost(Refused):
    """Another brain has claimed the session, or what the command reports is not open any more."""
