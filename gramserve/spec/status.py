"""What the service answers: bodies that server and client share."""

from datetime import datetime
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from gramserve.spec.network import OutputName, Precision

JobState = Literal[
    "queued", "planning", "running", "paused", "cancelling", "succeeded", "failed", "cancelled"
]
"""Where a job is."""

JOB_STATES: tuple[JobState, ...] = get_args(JobState)
"""All states of a job."""

TERMINAL_STATES: frozenset[JobState] = frozenset({"succeeded", "failed", "cancelled"})
"""The states a job never leaves."""


class Body(BaseModel):
    """A JSON body; unknown keys are ignored so that old clients read new servers."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Preprocessing(Body):
    """How a data set was made from another one."""

    source: str
    """Digest of the data set whose items were taken."""
    fit: str | None = None
    """Digest of the data set that the steps were fitted on; None when no step is fitted."""
    recipe: dict[str, Any]
    """The expanded recipe, defaults filled in."""
    dtype: str
    """What the result is stored in."""


class DatasetInfo(Body):
    """One data set."""

    digest: str
    """SHA-256 that names the content, or how it was preprocessed; 64 hexadecimal digits."""
    shape: tuple[int, ...]
    """Items first, then the shape of one item."""
    dtype: str
    """NumPy name, for example "uint8"."""
    items: int
    bytes: int
    """Size of the items without compression."""
    name: str | None = None
    created: datetime | None = None
    preprocessing: Preprocessing | None = None
    """How it was made from another data set; None when it was uploaded."""


class BlockCounts(Body):
    """How many blocks are where."""

    total: int = 0
    done: int = 0
    """Stored, whoever computed them."""
    reused: int = 0
    """Of the stored ones, those that this job did not have to compute."""
    failed: int = 0
    """Set aside after their last attempt."""


class FailedBlock(Body):
    """A block that was set aside."""

    block: tuple[int, int]
    """Panel of the rows, panel of the columns."""
    error: str


class JobError(Body):
    """Why a job failed."""

    code: str
    """Stable code of the error tree."""
    message: str


class JobReport(Body):
    """One job and how far it is."""

    id: str
    state: JobState
    gram: str | None
    """Id of its Gram matrix; None when there are two."""
    grams: dict[OutputName, str]
    """Ids by kernel."""
    dataset: str
    other: str | None
    kernel: dict[str, Any]
    """The expanded kernel spec."""
    precision: Precision
    block_size: int
    priority: int
    blocks: BlockCounts
    progress: float
    """Stored blocks over all blocks, 0 to 1."""
    rate_entries_per_s: float | None = None
    """Matrix entries computed per second, lately."""
    eta_s: float | None = None
    """Seconds until the end at that rate."""
    waiting_reason: str | None = None
    """Why nothing is being computed, when nothing is."""
    created: datetime
    started: datetime | None = None
    finished: datetime | None = None
    error: JobError | None = None
    failed_blocks: list[FailedBlock] = Field(default_factory=list)

    @property
    def is_finished(self) -> bool:
        """Whether the state is terminal."""
        return self.state in TERMINAL_STATES


class GramReport(Body):
    """One Gram matrix and how complete it is."""

    id: str
    kernel: dict[str, Any]
    """The expanded kernel spec, with one kernel."""
    dataset: str
    other: str | None
    shape: tuple[int, int]
    dtype: str
    precision: Precision
    block_size: int
    complete: bool
    blocks: BlockCounts
    jobs: list[str] = Field(default_factory=list)
    created: datetime | None = None


class PlannedBlocks(Body):
    """How a plan's blocks divide."""

    total: int
    cached: int
    """Stored already, in this matrix or in others."""
    adoptable: int = 0
    """Of these, those that other matrices hold: they are taken over, not computed."""
    to_compute: int


class PlannedBytes(Body):
    """What a plan will occupy."""

    result: int
    """Bytes of the finished matrix or matrices."""
    peak_worker: int
    """Bytes of memory one worker needs at most."""


class PlannedLayer(Body):
    """One layer and the positions after it."""

    type: str
    shape: tuple[int, ...]


class PlanReport(Body):
    """A job before it runs: how it is cut and what it costs."""

    gram: str | None = None
    grams: dict[OutputName, str] = Field(default_factory=dict)
    shape: tuple[int, int]
    block_size: int
    blocks: PlannedBlocks
    bytes: PlannedBytes
    operations: int
    """Floating-point operations still to do."""
    seconds_estimate: float
    """Estimated seconds on the present workers; an order of magnitude."""
    engine: str
    why_engine: str
    layers: list[PlannedLayer]


class KernelReport(Body):
    """A kernel spec, checked and expanded."""

    kernel: dict[str, Any]
    """Canonical spec, presets expanded and defaults filled in."""
    digest: str
    kernels: list[OutputName]
    """Gram matrices that a job would have."""
    layers: list[PlannedLayer] | None = None
    """Positions after every layer, when an item shape was given."""
    engine: str | None = None
    why_engine: str | None = None
