"""Making blocks: executors, the ledger and the scheduler. The only room that knows Dask.

Dask is imported when a :class:`~gramserve.blocks.cluster.DaskExecutor` is made, by
:func:`open_executor`.
"""

from gramserve.blocks.adoption import adopt_stored, count_adoptable
from gramserve.blocks.audit import AuditedBlock, audit_blocks, audit_tolerance
from gramserve.blocks.evaluate import INTERACTIVE_PRIORITY, evaluate_rows
from gramserve.blocks.executor import Completion, Executor, LoopExecutor, Session, Task
from gramserve.blocks.inspection import Inspection, run_inspection
from gramserve.blocks.ledger import Failure, Ledger, Policy
from gramserve.blocks.open import open_executor
from gramserve.blocks.progress import Progress, RunOutcome
from gramserve.blocks.scheduler import Scheduler
from gramserve.blocks.shares import Shares
from gramserve.blocks.task import BlockResult, ItemsPlace, Recipe
from gramserve.blocks.work import GramWork, open_work, place_items

__all__ = [
    "INTERACTIVE_PRIORITY",
    "AuditedBlock",
    "BlockResult",
    "Completion",
    "Executor",
    "Failure",
    "GramWork",
    "Inspection",
    "ItemsPlace",
    "Ledger",
    "LoopExecutor",
    "Policy",
    "Progress",
    "Recipe",
    "RunOutcome",
    "Scheduler",
    "Session",
    "Shares",
    "Task",
    "adopt_stored",
    "audit_blocks",
    "audit_tolerance",
    "count_adoptable",
    "evaluate_rows",
    "open_executor",
    "open_work",
    "place_items",
    "run_inspection",
]
