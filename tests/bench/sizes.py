"""How much is measured: enough for steady figures, or just enough to see that everything can be measured."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Sizes:
    """Counts of one run."""

    text_turns: dict[int, int]
    """Turns by the number of sessions that take them at once."""
    tool_turns: dict[int, int]
    first_deltas: int
    creates: int
    cold_tools: int
    idle_readers: int
    fan_out_readers: int
    fan_out_turns: int
    long_session_events: int
    long_session_turns: int
    restarts: int
    other_sessions: int
    other_turns: int
    appended_records: int
    failovers: int
    rebuilt_records: int
    listed_sessions: int
    upload_bytes: int
    due_deployments: int
    due_spacing_min: int
    """Minutes from one slot to the next: the jitter window is 15 % of it."""


FULL: Final = Sizes(
    text_turns={1: 500, 20: 4_000, 100: 4_000},
    tool_turns={1: 200, 20: 1_000, 100: 1_000},
    first_deltas=200,
    creates=1_000,
    cold_tools=60,
    idle_readers=1_000,
    fan_out_readers=200,
    fan_out_turns=30,
    long_session_events=10_000,
    long_session_turns=100,
    restarts=3,
    other_sessions=10_000,
    other_turns=300,
    appended_records=6_000,
    failovers=3,
    rebuilt_records=40_000,
    listed_sessions=100_000,
    upload_bytes=500 * 1024 * 1024,
    due_deployments=5_000,
    due_spacing_min=10,
)

QUICK: Final = Sizes(
    text_turns={1: 20, 20: 60},
    tool_turns={1: 4, 4: 8},
    first_deltas=5,
    creates=20,
    cold_tools=3,
    idle_readers=40,
    fan_out_readers=20,
    fan_out_turns=2,
    long_session_events=300,
    long_session_turns=5,
    restarts=1,
    other_sessions=50,
    other_turns=10,
    appended_records=200,
    failovers=1,
    rebuilt_records=200,
    listed_sessions=2_000,
    upload_bytes=20 * 1024 * 1024,
    due_deployments=20,
    due_spacing_min=1,
)
