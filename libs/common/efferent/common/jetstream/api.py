"""Requests to JetStream's API with their errors and retries. Shared by everything that reads, purges or declares."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import orjson

from efferent.common.jetstream.connection import Connection, RequestFailed
from efferent.common.ports import LogUnavailable

ANSWER_TIMEOUT_S: Final = 2.0
DEADLINE_S: Final = 5.0
"""How long one question to the log may take, retries included."""

PAUSE_FIRST_S: Final = 0.005
PAUSE_MAX_S: Final = 0.25
_FOR_EVER_S: Final = 1e8  # event loops do not take infinity

CONSUMER_NOT_FOUND: Final = 10014
NOT_FOUND: Final = 10037
_SEQUENCE_NOT_FOUND: Final = 10043
_DELETE_FAILED: Final = 10057
_NO_SUCH_MESSAGE: Final = frozenset({"no message found", "deleted message"})
STREAM_NAME_IN_USE: Final = 10058
STREAM_NOT_FOUND: Final = 10059

_PASSING_CODES: Final = frozenset({503, 408})
_PASSING_ERRORS: Final = frozenset({10004, 10005, 10006, 10007, 10008, 10009, 10041, 10059, 10118, 10119})
"""A cluster without enough peers, not active, not assigned, not available, no leader, no quorum; a stream that is just
being made; a stream or consumer that is offline."""

_log = logging.getLogger(__name__)


class ApiError(Exception):
    """JetStream refused the request."""

    def __init__(self, code: int, error: int, description: str) -> None:
        super().__init__(f"JetStream: {description} ({error})")
        self.code = code
        self.error = error
        self.description = description

    @property
    def is_gone(self) -> bool:
        """Whether the message that was asked for, or was to be deleted, is not there.

        Which of three answers says so depends on where in the stream the message was.
        """
        failed_for_that = self.error == _DELETE_FAILED and self.description in _NO_SUCH_MESSAGE
        return failed_for_that or self.error in (NOT_FOUND, _SEQUENCE_NOT_FOUND)

    @property
    def is_passing(self) -> bool:
        """Whether the same request may succeed a moment later."""
        return self.code in _PASSING_CODES or self.error in _PASSING_ERRORS


@dataclass(slots=True)
class Deadline:
    """Time left for one operation, and the growing pause between its tries."""

    end_s: float
    pause_s: float = PAUSE_FIRST_S

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """A deadline this many seconds from now."""
        return cls(asyncio.get_running_loop().time() + seconds)

    @classmethod
    def never(cls) -> "Deadline":
        """No deadline; only the growing pause."""
        return cls.after(_FOR_EVER_S)

    @property
    def left_s(self) -> float:
        """Seconds left; negative when the time is over."""
        return self.end_s - asyncio.get_running_loop().time()

    async def pause(self, connection: Connection, error: Exception) -> None:
        """Wait before the next try, at least until a server is there. Raises LogUnavailable when the time is over."""
        if self.left_s <= 0 or not await connection.wait_connected(self.left_s):
            raise LogUnavailable(f"the log does not answer: {error}") from error
        await asyncio.sleep(min(self.pause_s, max(self.left_s, 0)))
        self.pause_s = min(self.pause_s * 2, PAUSE_MAX_S)


async def retrying[T](connection: Connection, deadline: Deadline, attempt: Callable[[], Awaitable[T]]) -> T:
    """Repeat an attempt that is safe to repeat while it fails for a passing reason. Raises LogUnavailable, ApiError."""
    while True:
        try:
            return await attempt()
        except RequestFailed as error:
            await deadline.pause(connection, error)
        except ApiError as error:
            if not error.is_passing:
                raise
            await deadline.pause(connection, error)


async def call_once(connection: Connection, subject: str, body: dict[str, Any]) -> dict[str, Any]:
    """One request to the API. Raises RequestFailed, ApiError."""
    answer = await connection.request(f"$JS.API.{subject}", orjson.dumps(body), timeout_s=ANSWER_TIMEOUT_S)
    return parse_answer(answer.data)


async def call(
    connection: Connection, subject: str, body: dict[str, Any], *, deadline_s: float = DEADLINE_S
) -> dict[str, Any]:
    """A request to the API, repeated while it fails for a passing reason. Raises LogUnavailable, ApiError."""
    return await retrying(connection, Deadline.after(deadline_s), lambda: call_once(connection, subject, body))


def parse_answer(data: bytes) -> dict[str, Any]:
    """The answer's fields. Raises ApiError, RequestFailed when it is no answer at all."""
    try:
        fields = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise RequestFailed("the answer is not JSON") from error
    if not isinstance(fields, dict):
        raise RequestFailed("the answer is not an object")
    if problem := fields.get("error"):
        raise ApiError(problem.get("code", 0), problem.get("err_code", 0), problem.get("description", ""))
    return fields
