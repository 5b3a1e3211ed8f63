"""Who asked, and how far it is: data sets, Gram matrices, jobs, blocks, events, API keys.

The only room that knows SQL. Stored blocks are the truth; what is written here is intent and
cache, and can be lost without losing a number.
"""

from gramserve.catalog.catalog import Catalog
from gramserve.catalog.dispatchers import INTERRUPTED
from gramserve.catalog.records import (
    BlockGroup,
    BlockRecord,
    BlockTally,
    DatasetRecord,
    EventRecord,
    GramRecord,
    JobProgress,
    JobRecord,
    KeyRecord,
    PinRecord,
    ReuseTally,
)
from gramserve.catalog.scopes import SCOPES, allows
from gramserve.catalog.transitions import ACTIVE_STATES, HELD_STATES, TRANSITIONS

__all__ = [
    "ACTIVE_STATES",
    "HELD_STATES",
    "INTERRUPTED",
    "SCOPES",
    "TRANSITIONS",
    "BlockGroup",
    "BlockRecord",
    "BlockTally",
    "Catalog",
    "DatasetRecord",
    "EventRecord",
    "GramRecord",
    "JobProgress",
    "JobRecord",
    "KeyRecord",
    "PinRecord",
    "ReuseTally",
    "allows",
]
