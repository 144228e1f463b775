"""Deployments of requests: checked as a session of them would be, made, and shown with their times."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from efferent.common.control.aggregates import Actor
from efferent.common.control.deployments import DEPLOYMENT_RUNS, DEPLOYMENTS
from efferent.common.deployments.firing import Firing, FiringTools
from efferent.common.deployments.spec import spec_of
from efferent.common.deployments.troubles import resource_trouble
from efferent.common.domain import timestamp
from efferent.common.domain.attachments import ResourceSpec, check_distinct_stores, check_kinds, places
from efferent.common.domain.control.aggregate import UNSET, Given
from efferent.common.domain.control.deployment import (
    ARCHIVED_TEXT,
    CreateDeployment,
    DeploymentFields,
    UpdateDeployment,
    check_schedule,
    too_many_scheduled,
)
from efferent.common.domain.control.deployment_run import FINISHED, TRIGGER_TYPE, StartRun
from efferent.common.domain.control.schedule import upcoming
from efferent.common.domain.ids import DeploymentId, DeploymentRunId, EnvironmentId, SessionId, WorkspaceId, from_seed
from efferent.common.domain.refusals import InvalidRequest, NotFound
from efferent.common.domain.resources.deployment import AgentReference, CronSchedule, Deployment, shown
from efferent.common.domain.resources.deployment_run import DeploymentRun, ManualTrigger
from efferent.common.domain.sealed import Sealed
from efferent.common.domain.timestamp import Timestamp
from efferent.common.session_creation import AgentChoice, SessionPlanner, SessionSpec
from efferent.gateway.context import GatewayContext
from efferent.gateway.control.deployment_params import (
    CreateDeploymentParams,
    UpdateDeploymentParams,
    agent_choice,
    initial_events,
    resource_configs,
    tokens_of,
)
from efferent.gateway.resource_params import resource_specs
