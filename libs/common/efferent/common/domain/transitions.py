"""The session's status machine: which status event may follow in which status, and nothing else.

Everything that affects a change of status is in this table; ``evolve`` only looks it up, ``decide`` may emit only what
the table allows, and the diagram in ``docs/session-status.md`` is generated from it (``tools/draw_transitions.py``).
"""

from typing import Final, Literal

StatusName = Literal["idle", "running", "rescheduling", "terminated"]
StatusEventType = Literal[
    "session.status_running",
    "session.status_idle",
    "session.status_rescheduled",
    "session.status_terminated",
]

TRANSITIONS: Final[dict[tuple[StatusName, StatusEventType], StatusName]] = {
    # Work begins: input was taken in, or the last blocking answer came.
    ("idle", "session.status_running"): "running",
    # Said again with the remaining ids when only some of the blocking answers came, or after an interrupt.
    ("idle", "session.status_idle"): "idle",
    # Archived.
    ("idle", "session.status_terminated"): "terminated",
    # The turn ended, blocks on the client, was interrupted, or ran out of retries.
    ("running", "session.status_idle"): "idle",
    # A transient fault: tried again later.
    ("running", "session.status_rescheduled"): "rescheduling",
    # An error that no retry can mend.
    ("running", "session.status_terminated"): "terminated",
    # The retry begins.
    ("rescheduling", "session.status_running"): "running",
    # Interrupted while it waited for the retry.
    ("rescheduling", "session.status_idle"): "idle",
    ("rescheduling", "session.status_terminated"): "terminated",
}


class IllegalTransition(Exception):
    """A decision wanted a change of status that the table does not allow: a bug, never a user's fault."""

    def __init__(self, status: StatusName, event_type: StatusEventType) -> None:
        super().__init__(f"{event_type} is not possible while the session is {status}")


def next_status(status: StatusName, event_type: StatusEventType) -> StatusName:
    """The status after the event. Raises IllegalTransition."""
    try:
        return TRANSITIONS[status, event_type]
    except KeyError:
        raise IllegalTransition(status, event_type) from None
