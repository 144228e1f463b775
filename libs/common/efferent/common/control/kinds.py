"""The kinds of resources that the control plane has, and where their aggregates live."""

from typing import Any, Final, NamedTuple

from efferent.common.domain.control.agent import AGENT
from efferent.common.domain.control.aggregate import ORGANIZATION, Kind
from efferent.common.domain.control.credential import CREDENTIAL
from efferent.common.domain.control.deployment import DEPLOYMENT
from efferent.common.domain.control.deployment_run import DEPLOYMENT_RUN
from efferent.common.domain.control.dream import DREAM
from efferent.common.domain.control.environment import ENVIRONMENT
from efferent.common.domain.control.file import FILE
from efferent.common.domain.control.memory import MEMORY, MEMORY_VERSION
from efferent.common.domain.control.memory_store import MEMORY_STORE
from efferent.common.domain.control.skill import SKILL
from efferent.common.domain.control.user_profile import USER_PROFILE
from efferent.common.domain.control.vault import VAULT
from efferent.common.domain.control.webhook_endpoint import WEBHOOK_ENDPOINT
from efferent.common.domain.ids import WorkspaceId
from efferent.common.jetstream import subjects

KINDS: Final[dict[str, Kind[Any]]] = {
    kind.name: kind
    for kind in (
        AGENT,
        ENVIRONMENT,
        VAULT,
        CREDENTIAL,
        WEBHOOK_ENDPOINT,
        USER_PROFILE,
        DREAM,
        FILE,
        SKILL,
        MEMORY_STORE,
        MEMORY,
        MEMORY_VERSION,
        DEPLOYMENT,
        DEPLOYMENT_RUN,
    )
}

_BY_FAMILY: Final[dict[tuple[str, str], Kind[Any]]] = {
    (kind.subject_family, kind.prefix): kind for kind in KINDS.values()
}


def kind_at(subject: str) -> Kind[Any] | None:
    """The kind of the aggregate that lives under the subject; None when it is not one of the resources."""
    place = place_of(subject)
    return place.kind if place is not None else None


class Place(NamedTuple):
    """What the subject of an aggregate says."""

    kind: Kind[Any] | None
    """None when it is not one of the resources."""
    family: str
    set_id: str | None
    """The set that a rule is about; None when there is none."""


def place_of(subject: str) -> Place | None:
    """What the subject says; None when it is not that of an aggregate."""
    try:
        family, set_id, identifier = subjects.parse_control(subject)
    except subjects.BadSubject:
        return None
    prefix, separator, _ = identifier.partition("_")
    kind = _BY_FAMILY.get((family, prefix + separator))
    if set_id is None and kind is not None and kind.within == "organization":
        set_id = ORGANIZATION
    return Place(kind, family, set_id)


def subject_of(kind: Kind[Any], workspace_id: WorkspaceId, identifier: str, within: str | None = None) -> str:
    """Where the aggregate lives; ``within`` is the id of the parent for kinds that live in their parent's set."""
    match kind.within:
        case "nothing" | "organization":
            return subjects.control(kind.subject_family, identifier)
        case "workspace":
            return subjects.control(kind.subject_family, identifier, within=workspace_id)
        case "itself":
            return subjects.control(kind.subject_family, identifier, within=identifier)
        case "parent":
            if within is None:
                raise RuntimeError(f"{kind.name} lives in a parent's set, and no parent is named")
            return subjects.control(kind.subject_family, identifier, within=within)


def set_pattern(kind: Kind[Any], set_id: str) -> str:
    """Everything in a set: the fence of rules over it."""
    return subjects.control_fence(kind.subject_family, None if kind.within == "organization" else set_id)
