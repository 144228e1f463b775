"""A folded session state as bytes for caches (the gateway's projection, the brain's snapshots), readable by the same
code only.

The bytes carry no version of their own: the cache does (``code_version``), and what other code wrote is folded again
from the log.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Final

from pydantic import TypeAdapter

from efferent.common.domain import evolve, state
from efferent.common.domain.state import (
    AwaitingConfirmation,
    AwaitingResult,
    CallPhase,
    Denied,
    Runnable,
    SessionState,
    ToolCall,
)


@dataclass(frozen=True, slots=True)
class _KeptCall:
    """A tool call whose phase is written by name: the phases have no field that tells them apart in JSON."""

    call: ToolCall
    phase: str
    denial: str | None = None


@dataclass(frozen=True, slots=True)
class _Kept:
    state: SessionState
    calls: tuple[_KeptCall, ...]


_KEPT: Final[TypeAdapter[_Kept]] = TypeAdapter(_Kept)


def code_version(*more: ModuleType) -> str:
    """Changes whenever the code changes that folds states or that defines what a state is, or the code of ``more``."""
    digest = hashlib.sha256()
    for module in (state, evolve, *more):
        if module.__file__ is not None:
            digest.update(Path(module.__file__).read_bytes())
    return digest.hexdigest()[:16]


def dump_state(folded: SessionState) -> bytes:
    """Write a state."""
    calls = tuple(_keep(call) for call in folded.calls)
    return _KEPT.dump_json(_Kept(state=replace(folded, calls=()) if calls else folded, calls=calls))


def load_state(data: bytes) -> SessionState:
    """Read a state that the same code wrote."""
    kept = _KEPT.validate_json(data)
    if not kept.calls:
        return kept.state
    return replace(kept.state, calls=tuple(replace(item.call, phase=_phase(item)) for item in kept.calls))


def _keep(call: ToolCall) -> _KeptCall:
    denial = call.phase.text if isinstance(call.phase, Denied) else None
    return _KeptCall(call=replace(call, phase=Runnable()), phase=type(call.phase).__name__, denial=denial)


def _phase(item: _KeptCall) -> CallPhase:
    match item.phase:
        case "AwaitingConfirmation":
            return AwaitingConfirmation()
        case "AwaitingResult":
            return AwaitingResult()
        case "Denied":
            return Denied(item.denial or "")
        case _:
            return Runnable()
