"""The one place that says how workflow code is guarded: determinism checks on, every module passed through.

A module that is not passed through is imported anew for each run (15 % of a worker's time, measured), and a workflow
module that imports I/O fails to load. What workflows may import is the import contracts' business.
"""

from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

SANDBOX = SandboxedWorkflowRunner(restrictions=SandboxRestrictions.default.with_passthrough_all_modules())
