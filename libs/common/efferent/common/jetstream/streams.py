"""The streams, declared. Making them is idempotent, so every service does it at its start."""

from typing import Any, Final

from efferent.common.jetstream import api, subjects
from efferent.common.jetstream.connection import Connection
from efferent.common.ports import LogUnavailable

DECLARE_WITHIN_S: Final = 30.0
"""A cluster needs a moment to elect its leaders."""

_DUPLICATE_WINDOW_NS: Final = 120 * 10**9


async def declare(connection: Connection, *, replicas: int = 1, deadline_s: float = DECLARE_WITHIN_S) -> None:
    """Make every stream, or bring existing ones up to date. Raises LogUnavailable, ApiError."""
    for name, subject_list in (
        (subjects.SESSIONS, subjects.SESSION_SUBJECTS),
        (subjects.CONTROL, subjects.CONTROL_SUBJECTS),
    ):
        await _declare(connection, configuration(name, subject_list, replicas), deadline_s)
    await _declare(connection, work_configuration(replicas), deadline_s)
    await _declare(connection, keys_configuration(replicas), deadline_s)
    await _declare(connection, leases_configuration(replicas), deadline_s)


def configuration(name: str, subject_list: tuple[str, ...], replicas: int) -> dict[str, Any]:
    """A stream's configuration: nothing is ever dropped by age or size; a full disk refuses appends instead."""
    return {
        "name": name,
        "subjects": list(subject_list),
        "storage": "file",
        "retention": "limits",
        "discard": "new",
        "max_age": 0,
        "max_bytes": -1,
        "max_msgs": -1,
        "max_msgs_per_subject": -1,
        "num_replicas": replicas,
        "allow_direct": True,
        "duplicate_window": _DUPLICATE_WINDOW_NS,
        "republish": {"src": ">", "dest": subjects.live(">")},
    }


def work_configuration(replicas: int) -> dict[str, Any]:
    """The work queues' stream: the newest state of each item only; stopped items leave by the TTL of their record."""
    config = configuration(subjects.WORK, subjects.WORK_SUBJECTS, replicas)
    return {**config, "max_msgs_per_subject": 1, "allow_msg_ttl": True}


def keys_configuration(replicas: int) -> dict[str, Any]:
    """The stream of wrapped data keys: the newest form of each only, and nothing is republished."""
    config = configuration(subjects.KEYS, subjects.KEYS_SUBJECTS, replicas)
    return {name: value for name, value in config.items() if name != "republish"} | {"max_msgs_per_subject": 1}


def leases_configuration(replicas: int) -> dict[str, Any]:
    """The stream of leases: in memory, since a lease says only who works on something now."""
    config = configuration(subjects.LEASES, subjects.LEASES_SUBJECTS, replicas)
    fields = {name: value for name, value in config.items() if name != "republish"}
    return fields | {"storage": "memory", "max_msgs_per_subject": 1, "allow_msg_ttl": True}


async def declare_one(connection: Connection, config: dict[str, Any], *, deadline_s: float = DECLARE_WITHIN_S) -> None:
    """Make a stream that only one service uses, or bring it up to date. Raises LogUnavailable, ApiError."""
    await _declare(connection, config, deadline_s)


async def _declare(connection: Connection, config: dict[str, Any], deadline_s: float) -> None:
    name = config["name"]
    try:
        await api.call(connection, f"STREAM.CREATE.{name}", config, deadline_s=deadline_s)
    except api.ApiError as error:
        if error.error != api.STREAM_NAME_IN_USE:
            raise
        await api.call(connection, f"STREAM.UPDATE.{name}", config, deadline_s=deadline_s)


async def identity(connection: Connection, name: subjects.Stream) -> str:
    """What tells this stream from another of the same name: a projection of another one is worth nothing.

    Raises LogUnavailable.
    """
    try:
        info = await api.call(connection, f"STREAM.INFO.{name}", {})
    except api.ApiError as error:
        raise LogUnavailable(str(error)) from error
    return str(info["created"])
