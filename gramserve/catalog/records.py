"""What the catalog answers: frozen records, never rows of a session."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from gramserve.catalog.scopes import allows

BlockState = Literal["stored", "failed"]
EventKind = Literal["state", "progress"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetRecord:
    """One data set."""

    digest: str
    """SHA-256 that names the content, or how it was preprocessed; 64 hexadecimal digits."""
    name: str | None
    shape: tuple[int, ...]
    """Items first, then the shape of one item."""
    dtype: str
    """NumPy name, for example "uint8"."""
    items: int
    bytes: int
    """Size of the items without compression, in bytes."""
    created: datetime
    preprocessing: Mapping[str, Any] | None = None
    """``source``, ``fit``, ``recipe`` and ``dtype`` of one that was made from another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GramRecord:
    """One Gram matrix, complete or not."""

    id: str
    """Content address, see :func:`gramserve.spec.addresses.gram_address`."""
    kernel: str
    """"nngp" or "ntk"."""
    spec: Mapping[str, Any]
    """Canonical kernel spec with this one kernel named."""
    precision: str
    dataset: str
    other: str | None
    """Data set of the columns; None for the symmetric matrix."""
    rows: int
    columns: int
    block_size: int
    """Rows and columns of a block."""
    symmetric: bool
    dtype: str
    path: str
    """Where the store keeps it."""
    blocks_total: int
    created: datetime
    kernel_address: str | None = None
    """What names the function, see :func:`gramserve.spec.addresses.kernel_address`."""
    last_used: datetime | None = None
    """When it was asked for or rows of it were read, to within seconds."""
    rows_served: int = 0
    """Rows read over HTTP since it was made."""
    verified: datetime | None = None
    """When every stored byte was last found intact or dropped."""
    audit: Mapping[str, Any] | None = None
    """What the last audit found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """One asking and how far it is."""

    id: str
    state: str
    """One of :data:`gramserve.spec.status.JOB_STATES`."""
    spec: Mapping[str, Any]
    """Canonical kernel spec with all kernels asked for."""
    grams: Mapping[str, str]
    """Ids of Gram matrices by kernel."""
    dataset: str
    other: str | None
    precision: str
    block_size: int
    priority: int
    """Higher goes first."""
    engine: str | None
    epoch: int
    """Counts who holds the job; writes of an earlier holder are refused."""
    dispatcher: str | None
    """Who holds the job; None while nobody does."""
    blocks_total: int
    blocks_done: int
    """Stored, whoever computed them."""
    blocks_reused: int
    """Of the stored ones, those that this job did not have to compute."""
    blocks_failed: int
    waiting_reason: str | None
    error: Mapping[str, Any] | None
    """``{"code": ..., "message": ...}`` of a failed job."""
    key_id: str | None
    """The API key that asked."""
    created: datetime
    started: datetime | None
    finished: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobProgress:
    """How far a job is, as its holder says."""

    job: str
    epoch: int
    """The one the job was claimed with."""
    done: int
    """Blocks stored, whoever computed them."""
    reused: int
    """Of these, those that the job did not have to compute."""
    failed: int
    """Blocks set aside."""
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRecord:
    """One block that was stored, or set aside after its last attempt; with its provenance."""

    gram: str
    i: int
    """Panel of the rows."""
    j: int
    """Panel of the columns."""
    state: BlockState
    address: str | None = None
    """Content address, see :func:`gramserve.spec.addresses.block_address`."""
    attempts: int = 1
    error: Mapping[str, Any] | None = None
    """``{"code": ..., "message": ...}`` of a failed block."""
    engine: str | None = None
    device: str | None = None
    code_version: int | None = None
    seconds: float | None = None
    """Time the computation took, in seconds; of an adopted block, where it was made."""
    worker: str | None = None
    checksum: str | None = None
    finished: datetime | None = None
    """When it was stored or set aside; the moment of recording when not given."""
    adopted_from: Mapping[str, Any] | None = None
    """``{"gram": id, "blocks": [[i, j], ...]}`` of a block that was taken over; else None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockTally:
    """How many blocks of a Gram matrix are where."""

    stored: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockGroup:
    """Stored blocks of a Gram matrix that were made alike."""

    engine: str | None
    device: str | None
    code_version: int | None
    worker: str | None
    adopted: bool
    """Whether they were taken over from another matrix."""
    blocks: int
    seconds: float
    """What they took together, where they were made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PinRecord:
    """Somebody's wish that a Gram matrix stays."""

    gram: str
    key_id: str
    key_name: str
    """Whose wish it is."""
    reason: str | None
    created: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ReuseTally:
    """What the jobs of one user asked for and did not have to compute."""

    key_id: str | None
    key_name: str | None
    jobs: int
    blocks_asked: int
    blocks_reused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRecord:
    """One thing that happened to a job."""

    seq: int
    """Increasing over all jobs, never used twice."""
    job: str
    at: datetime
    kind: EventKind
    data: Mapping[str, Any]
    """Of a state: from, state, epoch, waiting_reason, error. Of progress: the block counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """One API key; the secret itself is nowhere."""

    id: str
    name: str
    prefix: str
    """The first characters of the secret, for people to tell keys apart."""
    hash: str = field(repr=False)
    """SHA-256 of the secret, hexadecimal."""
    scopes: tuple[str, ...]
    created: datetime
    expires: datetime | None
    last_used: datetime | None
    """To the minute."""
    revoked: datetime | None
    """When it was revoked; None while it is valid."""

    def allows(self, scope: str) -> bool:
        """Whether the key may do what ``scope`` names; see :mod:`gramserve.catalog.scopes`."""
        return allows(self.scopes, scope)
