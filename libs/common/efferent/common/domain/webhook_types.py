"""The types of webhook events that endpoints may ask for. They are not the types of session events."""

from typing import Final, Literal, get_args

SessionWebhookType = Literal[
    "session.created",
    "session.pending",
    "session.running",
    "session.idled",
    "session.requires_action",
    "session.updated",
    "session.archived",
    "session.deleted",
    "session.budget_reached",
    "session.status_run_started",
    "session.status_idled",
    "session.status_rescheduled",
    "session.status_terminated",
    "session.thread_created",
    "session.thread_idled",
    "session.thread_terminated",
    "session.outcome_evaluation_ended",
]
"""Derived from the records of sessions; but ``session.deleted``, which is a record of the control plane."""

ControlWebhookType = Literal[
    "agent.created",
    "agent.updated",
    "agent.archived",
    "agent.deleted",
    "deployment.created",
    "deployment.updated",
    "deployment.paused",
    "deployment.unpaused",
    "deployment.archived",
    "deployment.deleted",
    "deployment_run.started",
    "deployment_run.succeeded",
    "deployment_run.failed",
    "environment.created",
    "environment.updated",
    "environment.archived",
    "environment.deleted",
    "memory_store.created",
    "memory_store.archived",
    "memory_store.deleted",
    "vault.created",
    "vault.archived",
    "vault.deleted",
    "vault_credential.created",
    "vault_credential.archived",
    "vault_credential.deleted",
    "vault_credential.refresh_failed",
]
"""Types of control records of the same name."""

ForeignWebhookType = Literal[
    "external_key.failed",
    "external_key.recovered",
    "user_profile.enforcement_action_opened",
    "user_profile.enforcement_action_resolved",
    "user_profile.program_status_updated",
]
"""Types that endpoints may ask for and that nothing here causes."""

WebhookType = Literal[SessionWebhookType, ControlWebhookType, ForeignWebhookType]

CONTROL_TYPES: Final[frozenset[str]] = frozenset((*get_args(ControlWebhookType), "session.deleted"))
WEBHOOK_TYPES: Final[tuple[WebhookType, ...]] = get_args(WebhookType)
"""All of them."""
