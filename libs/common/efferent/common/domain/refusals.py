"""Why a command can be refused.

Refused                     the command cannot be carried out in this state
+- InvalidRequest           400: the request itself is wrong, or wrong now; the message names the place
+- NotFound                 404: what the command names does not exist
+- Conflict                 409: somebody else was quicker
+- ClaimLost                a brain's command under a claim that is no longer the session's; never a client's fault
"""


class Refused(Exception):
    """The command cannot be carried out; the message says why and where.

    ``code`` is the API's ``error.details.error_code`` where it has one for the case.
    """

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class InvalidRequest(Refused):
    """The request is wrong, or wrong in this state (HTTP 400)."""


class NotFound(Refused):
    """What the command names does not exist (HTTP 404)."""


class Conflict(Refused):
    """Another change came first (HTTP 409)."""


class ClaimLost(Refused):
    """Another brain has claimed the session, or what the command reports is not open any more."""
