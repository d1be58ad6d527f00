"""The parts of the SDK that the simulation drives are private. Here their shape is written down."""

import dataclasses
import inspect
from importlib.metadata import version

import temporalio.activity
from temporalio.bridge.proto.workflow_activation.workflow_activation_pb2 import (
    WorkflowActivation,
    WorkflowActivationJob,
)
from temporalio.bridge.proto.workflow_commands.workflow_commands_pb2 import WorkflowCommand
from temporalio.worker._workflow_instance import (  # pyright: ignore[reportPrivateUsage]
    UnsandboxedWorkflowRunner,
    WorkflowInstance,
    WorkflowInstanceDetails,
)

PINNED = "1.35"
WHAT_TO_DO = (
    f"temporalio is not what tests/simulation/driver.py was written for ({PINNED}). Compare its _workflow_instance.py"
    " with the driver's _rebuild, _activation and _carry_out, and activity._Context with world.perform; run"
    " test_conformance_with_temporal.py; then write the new shape down here."
)
DETAILS = (
    "payload_converter_factory",
    "failure_converter_class",
    "interceptor_classes",
    "defn",
    "info",
    "randomness_seed",
    "extern_functions",
    "disable_eager_activity_execution",
    "worker_level_failure_exception_types",
    "patch_activation_callback",
    "last_completion_result",
    "last_failure",
    "default_workflow_logic_flags",
)
JOBS = (
    "initialize_workflow",
    "fire_timer",
    "update_random_seed",
    "query_workflow",
    "cancel_workflow",
    "signal_workflow",
    "resolve_activity",
    "notify_has_patch",
    "resolve_child_workflow_execution_start",
    "resolve_child_workflow_execution",
    "resolve_signal_external_workflow",
    "resolve_request_cancel_external_workflow",
    "do_update",
    "resolve_nexus_operation_start",
    "resolve_nexus_operation",
    "remove_from_cache",
)
COMMANDS = (
    "start_timer",
    "schedule_activity",
    "respond_to_query",
    "request_cancel_activity",
    "cancel_timer",
    "complete_workflow_execution",
    "fail_workflow_execution",
    "continue_as_new_workflow_execution",
    "cancel_workflow_execution",
    "set_patch_marker",
    "start_child_workflow_execution",
    "cancel_child_workflow_execution",
    "request_cancel_external_workflow_execution",
    "signal_external_workflow_execution",
    "cancel_signal_workflow",
    "schedule_local_activity",
    "request_cancel_local_activity",
    "upsert_workflow_search_attributes",
    "modify_workflow_properties",
    "update_response",
    "schedule_nexus_operation",
    "request_cancel_nexus_operation",
)
CONTEXT = (
    "info",
    "heartbeat",
    "cancelled_event",
    "worker_shutdown_event",
    "shield_thread_cancel_exception",
    "payload_converter_class_or_instance",
    "runtime_metric_meter",
    "client",
    "cancellation_details",
    "_logger_details",
    "_payload_converter",
    "_metric_meter",
)


def test_the_sdk_is_the_one_that_the_driver_was_written_for() -> None:
    assert version("temporalio").startswith(f"{PINNED}."), WHAT_TO_DO


def test_an_instance_is_made_of_the_details_that_are_pinned() -> None:
    assert tuple(each.name for each in dataclasses.fields(WorkflowInstanceDetails)) == DETAILS, WHAT_TO_DO
    assert list(inspect.signature(UnsandboxedWorkflowRunner.create_instance).parameters) == ["self", "det"], WHAT_TO_DO


def test_an_instance_answers_an_activation_at_once() -> None:
    assert list(inspect.signature(WorkflowInstance.activate).parameters) == ["self", "act"], WHAT_TO_DO
    assert not inspect.iscoroutinefunction(WorkflowInstance.activate), WHAT_TO_DO


def test_activations_and_commands_have_the_kinds_that_are_pinned() -> None:
    assert tuple(each.name for each in WorkflowActivationJob.DESCRIPTOR.oneofs[0].fields) == JOBS, WHAT_TO_DO
    assert tuple(each.name for each in WorkflowCommand.DESCRIPTOR.oneofs[0].fields) == COMMANDS, WHAT_TO_DO
    assert "continue_as_new_suggested" in WorkflowActivation.DESCRIPTOR.fields_by_name, WHAT_TO_DO


def test_an_activity_finds_its_context_where_the_world_puts_it() -> None:
    context = temporalio.activity._Context  # pyright: ignore[reportPrivateUsage]
    assert tuple(inspect.signature(context).parameters) == CONTEXT, WHAT_TO_DO
