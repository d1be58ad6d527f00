"""Which build this process is, and which build new runs go to. docs/versioning.md tells how a deploy goes.

A *build* is one state of the code, named by `HOLDFAST_BUILD_ID`; all builds of an installation are one *deployment* at
Temporal. Runs that move money are pinned: each ends on the build on which it began. New runs go to the current build,
and a share of them to the build that ramps. Knows no workflow, and no setting but the two names.
"""

import asyncio
import contextlib
import getpass
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.deployment.v1 import WorkerDeploymentInfo
from temporalio.api.enums.v1 import RoutingConfigUpdateState, WorkerDeploymentVersionStatus
from temporalio.api.workflowservice.v1 import (
    DescribeWorkerDeploymentRequest,
    SetWorkerDeploymentCurrentVersionRequest,
    SetWorkerDeploymentRampingVersionRequest,
)
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import WorkerDeploymentConfig

from domain.errors import HoldfastError
from workers.settings import Settings

T = TypeVar("T")
Summary = WorkerDeploymentInfo.WorkerDeploymentVersionSummary

SETTLED_SECONDS = 10.0  # measured: a second, four on a busy machine; the server tells each task queue in turn
LOOK_SECONDS = 0.1
OURS_TO_MEND = (RPCStatusCode.NOT_FOUND, RPCStatusCode.FAILED_PRECONDITION, RPCStatusCode.INVALID_ARGUMENT)


class NotRouted(HoldfastError):
    """Temporal did not change, or does not know, where new runs go; the text says why."""


class State(StrEnum):
    """What a build is for. Workers of a draining one are needed; those of a drained one are not."""

    NEW = "new"  # its workers ask for work, and no run has been given to it
    RAMPING = "ramping"
    CURRENT = "current"
    DRAINING = "draining"  # runs that began on it are open
    DRAINED = "drained"


@dataclass(frozen=True, kw_only=True)
class Build:
    """A build that Temporal knows, because a worker of it has asked for work."""

    id: str
    state: State
    since: datetime  # when it came into this state
    was_current: bool


@dataclass(frozen=True, kw_only=True)
class Routing:
    """Where new runs go: `percentage` of them, of 100, to `ramping`, the rest to `current`.

    An empty `current` means workers without a build id; an empty `ramping` that nothing ramps.
    """

    current: str
    ramping: str
    percentage: float
    changed_by: str
    is_settled: bool  # every task queue has confirmed that it routes so
    builds: tuple[Build, ...]  # the newest first
    token: bytes  # of this state, so that a change made in between is not overwritten unseen


def config(settings: Settings, behavior: VersioningBehavior) -> WorkerDeploymentConfig | None:
    """What a worker tells Temporal of its build; None without a build id, and nothing is pinned.

    The behaviour is the worker's and stands in no workflow: a worker without a build id cannot run one that names it.
    """
    if not settings.build_id:
        return None
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(settings.deployment_name, settings.build_id),
        use_worker_versioning=True,
        default_versioning_behavior=behavior,
    )


class Deployment:
    """The builds of one installation. Every method raises `NotRouted` where Temporal refuses.

    A change returns when every task queue has confirmed it, or after ten seconds; `Routing.is_settled` tells.
    """

    def __init__(self, client: Client, name: str, actor: str = "") -> None:
        self._client = client
        self._name = name
        self._actor = actor or getpass.getuser()  # kept by Temporal as whoever changed the routing last

    async def routing(self) -> Routing:
        """Where new runs go now, and which builds there are."""
        info, token = await self._describe()
        routed = info.routing_config
        builds = sorted(info.version_summaries, key=lambda each: each.create_time.ToNanoseconds(), reverse=True)
        return Routing(
            current=routed.current_deployment_version.build_id,
            ramping=routed.ramping_deployment_version.build_id,
            percentage=round(routed.ramping_version_percentage, 4),  # Temporal keeps 32 bits
            changed_by=info.last_modifier_identity,
            is_settled=_is_settled(info),
            builds=tuple(_build(each) for each in builds),
            token=token,
        )

    async def ramp(self, build: str, percentage: float) -> None:
        """Send a share of new runs, more than 0 and at most 100 percent, to a build."""
        if not 0 < percentage <= 100:
            raise NotRouted("a ramp is more than 0 and at most 100 percent; `rollback` ends one")
        await self._set_ramp(build, percentage, (await self.routing()).token)

    async def make_current(self, build: str) -> None:
        """Send all new runs to a build, and end its ramp."""
        await self._set_current(build, (await self.routing()).token)

    async def roll_back(self, to: str = "") -> Routing:
        """End the ramp, if there is one; make `to` current, if it is given. Again is harmless. Returns what holds then.

        Raises `NotRouted` where that would change nothing: no ramp, and no build named to go back to.
        """
        found = await self.routing()
        if not found.ramping and not to:
            earlier = ", ".join(each.id for each in found.builds if each.was_current and each.id != found.current)
            raise NotRouted(f"nothing ramps, and {_told(found.current)}: name the build to go back to ({earlier})")
        if found.ramping:
            await self._set_ramp("", 0, found.token)
            found = await self.routing()
        if to and to != found.current:
            await self._set_current(to, found.token)
            found = await self.routing()
        return found

    async def _set_ramp(self, build: str, percentage: float, token: bytes) -> None:
        await _refusing(
            self._client.workflow_service.set_worker_deployment_ramping_version(
                SetWorkerDeploymentRampingVersionRequest(
                    namespace=self._client.namespace, deployment_name=self._name, build_id=build,
                    percentage=percentage, conflict_token=token, identity=self._actor,
                )
            )
        )  # fmt: skip
        await self._until_settled()

    async def _set_current(self, build: str, token: bytes) -> None:
        await _refusing(
            self._client.workflow_service.set_worker_deployment_current_version(
                SetWorkerDeploymentCurrentVersionRequest(
                    namespace=self._client.namespace, deployment_name=self._name, build_id=build,
                    conflict_token=token, identity=self._actor,
                )
            )
        )  # fmt: skip
        await self._until_settled()

    async def _until_settled(self) -> None:
        """Give every task queue the time to confirm: only then is what a person is told true of all of them.

        Where one does not, the change stands all the same: it is told as not settled, and is no failure.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLED_SECONDS):
                while not _is_settled((await self._describe())[0]):  # noqa: ASYNC110  the server tells nobody
                    await asyncio.sleep(LOOK_SECONDS)

    async def _describe(self) -> tuple[WorkerDeploymentInfo, bytes]:
        request = DescribeWorkerDeploymentRequest(namespace=self._client.namespace, deployment_name=self._name)
        found = await _refusing(self._client.workflow_service.describe_worker_deployment(request))
        return found.worker_deployment_info, found.conflict_token


def _told(current: str) -> str:
    return f"all new runs go to {current}" if current else "all new runs go to workers without a build id"


def _is_settled(info: WorkerDeploymentInfo) -> bool:
    return info.routing_config_update_state != RoutingConfigUpdateState.ROUTING_CONFIG_UPDATE_STATE_IN_PROGRESS


async def _refusing(asked: Awaitable[T]) -> T:
    try:
        return await asked
    except RPCError as failure:
        if failure.status not in OURS_TO_MEND:
            raise
        raise NotRouted(f"Temporal says: {failure.message}") from failure


STATES = {
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_UNSPECIFIED: State.NEW,
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_CREATED: State.NEW,
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_INACTIVE: State.NEW,
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_CURRENT: State.CURRENT,
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_RAMPING: State.RAMPING,
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_DRAINING: State.DRAINING,
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_DRAINED: State.DRAINED,
}


def _build(summary: Summary) -> Build:
    state = STATES[summary.status]
    moments = (summary.create_time, summary.routing_update_time, summary.drainage_info.last_changed_time)
    return Build(
        id=summary.deployment_version.build_id,
        state=state,
        since=max(_instant(each) for each in moments),
        was_current=summary.HasField("last_current_time"),
    )


def _instant(at: Timestamp) -> datetime:
    return at.ToDatetime(tzinfo=UTC)
