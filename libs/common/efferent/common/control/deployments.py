"""Deployments and their runs in the log."""

from typing import Final

from efferent.common.control.collection import Collection
from efferent.common.domain.control import deployment, deployment_run
from efferent.common.domain.control.deployment import DEPLOYMENT, DeploymentCommand
from efferent.common.domain.control.deployment_run import DEPLOYMENT_RUN, RunCommand
from efferent.common.domain.resources.deployment import Deployment
from efferent.common.domain.resources.deployment_run import DeploymentRun

DEPLOYMENTS: Final[Collection[Deployment, DeploymentCommand]] = Collection(
    DEPLOYMENT, deployment.decide, deployment.not_found
)
DEPLOYMENT_RUNS: Final[Collection[DeploymentRun, RunCommand]] = Collection(
    DEPLOYMENT_RUN, deployment_run.decide, deployment_run.not_found
)
