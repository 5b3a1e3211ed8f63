"""What the service answers about the shared cache: bodies that server and client share."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from gramserve.spec.network import OutputName, Precision
from gramserve.spec.status import Body

ChoreState = Literal["running", "done", "stopped", "failed"]
"""Where a verification or an audit is."""


class PinInfo(Body):
    """Somebody's wish that a Gram matrix stays."""

    key: str
    """Id of the API key."""
    name: str
    """Whose key it is."""
    reason: str | None = None
    created: datetime


class CacheEntry(Body):
    """One stored Gram matrix."""

    id: str
    kernel: OutputName
    precision: Precision
    shape: tuple[int, int]
    block_size: int
    dataset: str
    other: str | None = None
    bytes: int
    """Of its files on disk."""
    freed_bytes: int
    """What evicting it alone would free: files that no other matrix names too."""
    created: datetime
    last_used: datetime | None = None
    """When it was asked for or read last, to within seconds."""
    rows_served: int = 0
    verified: datetime | None = None
    """When all its bytes were checked last."""
    pins: list[PinInfo] = Field(default_factory=list)
    users: list[str] = Field(default_factory=list)
    """Names of the keys that asked for it."""
    in_use: str | None = None
    """Why it would not be evicted now; None when it might."""


class KernelUse(Body):
    """What the matrices of one function occupy."""

    kernel: OutputName
    precision: Precision
    address: str | None
    """What names the function; None of matrices that an older version made."""
    grams: int
    bytes: int
    """Files that several of them name are counted once."""


class UserUse(Body):
    """What one user asked for."""

    key: str | None
    """Id of the API key; None of jobs without one."""
    name: str | None
    grams: int
    bytes: int
    """Of the matrices asked for; those that several users asked for count for each."""
    jobs: int = 0
    """That have ended."""
    blocks_asked: int = 0
    blocks_reused: int = 0


class CacheReport(Body):
    """All that is stored of Gram matrices."""

    bytes: int
    """On disk; files that several matrices name are counted once."""
    free_bytes: int
    """Left on the disk."""
    blocks_asked: int
    """Blocks that all jobs that have ended were given."""
    blocks_reused: int
    """Of these, those that were stored already, anywhere."""
    hit_rate: float | None
    """The second over the first; None before the first job has ended."""
    kernels: list[KernelUse]
    users: list[UserUse]
    entries: list[CacheEntry]
    """The least recently used first, the order of eviction."""


class EvictionStep(Body):
    """One matrix that is, or would be, evicted."""

    id: str
    bytes: int
    """What evicting it after those before it frees."""
    last_used: datetime | None = None


class KeptGram(Body):
    """One matrix that could not be evicted."""

    id: str
    why: str


class EvictionReport(Body):
    """What an eviction did, or would do."""

    executed: bool
    """False for a dry run."""
    bytes_before: int
    bytes_after: int
    goal_bytes: int
    """What the matrices should occupy at most."""
    reached: bool
    """Whether they do, or would do, then."""
    evicted: list[EvictionStep]
    kept: list[KeptGram]
    """Older ones than the last that was evicted, and why they stay."""


class DamagedBlock(Body):
    """A block whose bytes were found wrong."""

    gram: str
    block: tuple[int, int]
    error: str
    dropped: bool
    """Whether it was removed, to be computed again when it is asked for."""


class VerificationReport(Body):
    """How far a verification is."""

    state: ChoreState
    grams_total: int = 0
    grams_done: int = 0
    blocks_checked: int = 0
    blocks_damaged: int = 0
    damaged: list[DamagedBlock] = Field(default_factory=list)
    """The first thousand."""
    started: datetime
    finished: datetime | None = None
    error: str | None = None


class AuditReport(Body):
    """How stored blocks compare with the same blocks computed anew in float64."""

    state: ChoreState
    every: int
    """Every how many blocks one is computed again."""
    blocks_total: int = 0
    """Blocks to compute again."""
    blocks_done: int = 0
    tolerance: float
    """Largest difference over largest value that passes."""
    largest_difference: float = 0.0
    """Over the largest value of its block."""
    worst_block: tuple[int, int] | None = None
    passed: bool | None = None
    """None while it runs."""
    failed_blocks: list[tuple[int, int]] = Field(default_factory=list)
    """Blocks beyond the tolerance, or damaged."""
    errors: list[str] = Field(default_factory=list)
    engine: str
    started: datetime
    finished: datetime | None = None


class BlockProvenance(Body):
    """How one stored block came about."""

    block: tuple[int, int]
    state: Literal["stored", "failed"]
    address: str | None = None
    engine: str | None = None
    device: str | None = None
    precision: Precision
    code_version: int | None = None
    seconds: float | None = None
    """Of the computation; of an adopted block, where it was made."""
    worker: str | None = None
    checksum: str | None = None
    finished: datetime | None = None
    adopted_from: dict[str, Any] | None = None
    """``{"gram", "blocks"}`` of a block that was taken over."""
    error: dict[str, Any] | None = None


class Makers(Body):
    """Stored blocks that were made alike."""

    engine: str | None
    device: str | None
    code_version: int | None
    worker: str | None
    adopted: bool
    blocks: int
    seconds: float


class Provenance(Body):
    """Who made a matrix."""

    blocks: int
    """Stored."""
    computed: int
    adopted: int
    unrecorded: int
    """Stored, but the catalog that knew their makers is lost."""
    seconds: float
    """Of all computations, also of adopted blocks where they were made."""
    makers: list[Makers]
    """The largest group first."""


class Diagonal(Body):
    """Range of the entries (n, n)."""

    smallest: float
    largest: float


class Spectrum(Body):
    """Ends of the spectrum of a symmetric matrix."""

    smallest: float
    """At least the smallest eigenvalue, up to rounding."""
    largest: float
    method: Literal["exact", "lanczos"]
    steps: int
    """Products with the matrix; 0 for the exact method."""
    residual: float
    """Some eigenvalue lies this close to ``smallest``."""


class Findings(Body):
    """What the stored numbers of a complete matrix say."""

    symmetric: bool | None
    """Whether every mirror is the transpose to the bit; None of a rectangular matrix."""
    largest_value: float
    """The largest magnitude."""
    diagonal: Diagonal | None = None
    """Of a symmetric matrix."""
    spectrum: Spectrum | None = None
    """Of a symmetric matrix."""


class ReportCard(Body):
    """A Gram matrix, how it was made and how to make it again."""

    id: str
    shape: tuple[int, int]
    complete: bool
    findings: Findings | None
    """None while blocks are missing."""
    provenance: Provenance
    audit: AuditReport | None = None
    """The last one."""
    request: dict[str, Any]
    """The body of ``POST /v1/jobs`` that asks for this matrix."""
    kernel_digest: str
    kernel_address: str | None
    kernel_code_version: int
    versions: dict[str, str]
    """Of the packages on the server now."""
