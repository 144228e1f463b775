"""Identifiers: one NewType per kind, their prefixes, and how ids are made.

Every id is ``<prefix><lower-case base32>``: unique when lower-cased and free of dots, because ids are NATS subject
tokens. The domain never draws random numbers: an id is derived from a seed that the caller drew, or from other ids.
"""

import base64
import hashlib
import re
from typing import Final, Literal, NewType

WorkspaceId = NewType("WorkspaceId", str)
ApiKeyId = NewType("ApiKeyId", str)
AgentId = NewType("AgentId", str)
EnvironmentId = NewType("EnvironmentId", str)
SessionId = NewType("SessionId", str)
ThreadId = NewType("ThreadId", str)
SessionResourceId = NewType("SessionResourceId", str)
EventId = NewType("EventId", str)
RecordId = NewType("RecordId", str)
ClaimId = NewType("ClaimId", str)
BrainId = NewType("BrainId", str)
WorkId = NewType("WorkId", str)
VaultId = NewType("VaultId", str)
CredentialId = NewType("CredentialId", str)
FileId = NewType("FileId", str)
SkillId = NewType("SkillId", str)
SkillVersionId = NewType("SkillVersionId", str)
DeploymentId = NewType("DeploymentId", str)
DeploymentRunId = NewType("DeploymentRunId", str)
UserProfileId = NewType("UserProfileId", str)
DreamId = NewType("DreamId", str)
MemoryStoreId = NewType("MemoryStoreId", str)
MemoryId = NewType("MemoryId", str)
MemoryVersionId = NewType("MemoryVersionId", str)
Seed = NewType("Seed", str)
"""Fresh randomness drawn by a caller: at least 20 lower-case base32 characters."""

Prefix = Literal[
    "agent_",
    "env_",
    "sesn_",
    "sthr_",
    "sevt_",
    "sesrsc_",
    "outc_",
    "rec_",
    "claim_",
    "brain_",
    "apikey_",
    "wrkspc_",
    "req_",
    "vlt_",
    "vcrd_",
    "memstore_",
    "mem_",
    "memver_",
    "file_",
    "skill_",
    "skillver_",
    "depl_",
    "drun_",
    "drm_",
    "work_",
    "whe_",
    "whep_",
    "uprof_",
]

SEED_LENGTH: Final = 24
_BODY: Final = re.compile(r"[A-Za-z0-9]{1,64}")
_SESSION_PREFIX_ACCEPTED: Final = "session_"
"""Alternate prefix that clients may send for a session."""


def derive(prefix: Prefix, *parts: str) -> str:
    """Make the one id that these parts always give."""
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()
    return prefix + base64.b32encode(digest[:15]).decode().lower()


def from_seed(prefix: Prefix, seed: Seed, index: int = 0) -> str:
    """Make the id at this index of a fresh seed; different indexes of one seed never collide."""
    return f"{prefix}{seed}{index:03x}" if index else f"{prefix}{seed}"


def is_well_formed(prefix: Prefix, text: str) -> bool:
    """Tell whether the text can be an id of this kind at all (malformed ids are a 400, unknown ones a 404)."""
    return text.startswith(prefix) and _BODY.fullmatch(text, len(prefix)) is not None


def parse_session_id(text: str) -> SessionId | None:
    """Read a session id in either accepted prefix; None when it is malformed."""
    if text.startswith(_SESSION_PREFIX_ACCEPTED):
        text = "sesn_" + text.removeprefix(_SESSION_PREFIX_ACCEPTED)
    return SessionId(text) if is_well_formed("sesn_", text) else None
