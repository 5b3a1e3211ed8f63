"""Every error gramserve raises.

::

    GramserveError                       code, retryable, errors
    |-- SpecError (ValueError)           the request is wrong
    |   |-- UnknownLayerError            no such layer type or preset
    |   |-- ShapeError                   the layers do not fit the items or each other
    |   |-- UnsupportedDtypeError (TypeError)  complex, object, string, structured
    |   |-- InvalidDataError             NaN, infinite, empty or unreadable items
    |   `-- RowRangeError (IndexError)   rows or columns outside the Gram matrix
    |-- PlanError (ValueError)           the request is right but cannot be cut to fit
    |   |-- MemoryBudgetError (MemoryError)  a pair, block or whitening does not fit
    |   `-- EngineUnavailableError       no engine here runs this kernel
    |-- BlockError (RuntimeError)        one block failed
    |   |-- DeviceMemoryError            the device ran out of memory (retryable)
    |   |-- DeviceLostError              this process cannot use the device any more (retryable)
    |   |-- WorkerLostError              the worker died (retryable)
    |   `-- NonFiniteKernelError         NaN or infinity; names layer and first pair
    |-- StoreError (OSError)             stored numbers cannot be read or written
    |   |-- StoreNotFoundError           no such data set or Gram matrix
    |   |-- BlockMissingError            planned, not computed yet (retryable)
    |   |-- CorruptBlockError            a checksum does not match
    |   |-- StoreMismatchError           the place holds a different Gram matrix
    |   `-- StorageFullError             no space left (retryable)
    |-- CatalogError (RuntimeError)      the database refuses
    |   |-- JobNotFoundError (LookupError)
    |   |-- JobCancelledError            the job waited for was cancelled; client only
    |   |-- IllegalTransitionError       the job's state does not allow it
    |   |-- ConflictError                something else holds what was asked for
    |   `-- CatalogRevisionError         the database is of another version
    |-- AccessError (PermissionError)    no key, wrong key, missing scope
    |-- QuotaError                       over a limit of the server
    |-- WaitTimeoutError (TimeoutError)  the caller's patience ended; client only
    `-- ServiceUnreachableError (ConnectionError)  raised by the client only

    QuadratureWarning (UserWarning)      a numeric activation needs a higher degree

``code`` is stable: programs and the HTTP interface rely on it. Which HTTP status an
error becomes is decided in :mod:`gramserve.service.errors` alone.
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar


class GramserveError(Exception):
    """Base of all errors of this package.

    Parameters
    ----------
    message : str
        What went wrong and what to do about it.
    errors : iterable of mapping, optional
        Every fault of a request, each ``{"loc": "layers[2].size", "message": ...}``.
    **context
        Plain facts (JSON values) for programs, for example ``job="..."``, ``block=[0, 3]``.
    """

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(
        self, message: str, *, errors: Iterable[Mapping[str, Any]] = (), **context: Any
    ) -> None:
        super().__init__(message)
        self.message = message
        self.errors: list[dict[str, Any]] = [dict(error) for error in errors]
        self.context: dict[str, Any] = context

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross process borders inside Dask results; Exception's own pickling
        # would drop the keyword arguments.
        return (_rebuild, (type(self), self.message, self.errors, self.context))


def _rebuild(
    kind: type[GramserveError], message: str, errors: list[dict[str, Any]], context: dict[str, Any]
) -> GramserveError:
    return kind(message, errors=errors, **context)


class SpecError(GramserveError, ValueError):
    """The request is wrong; ``errors`` lists every fault with its place."""

    code = "invalid_spec"


class UnknownLayerError(SpecError):
    """A layer type or preset that does not exist; names the nearest known one."""

    code = "unknown_layer"


class ShapeError(SpecError):
    """The layers do not fit the items or each other; names the layer and both shapes."""

    code = "shape"


class UnsupportedDtypeError(SpecError, TypeError):
    """Items of a dtype that is not a real number."""

    code = "unsupported_dtype"


class InvalidDataError(SpecError):
    """Items that are empty, not finite, or cannot be read; names the first bad item."""

    code = "invalid_data"


class RowRangeError(SpecError, IndexError):
    """Rows or columns outside the Gram matrix."""

    code = "row_range"


class PlanError(GramserveError, ValueError):
    """The request is right but cannot be cut to fit."""

    code = "plan"


class MemoryBudgetError(PlanError, MemoryError):
    """A block, pair or whitening needs more memory than there is; names both and the remedy."""

    code = "memory_budget"


class EngineUnavailableError(PlanError):
    """No engine on this machine runs this kernel; names the layer or what is missing."""

    code = "engine_unavailable"


class BlockError(GramserveError, RuntimeError):
    """Computing one block failed; ``context`` carries job, block and worker."""

    code = "block"


class DeviceMemoryError(BlockError):
    """The device ran out of memory; a smaller batch may fit."""

    code = "device_memory"
    retryable = True


class DeviceLostError(BlockError):
    """A fault after which this process cannot use the device any more; another one can."""

    code = "device_lost"
    retryable = True


class WorkerLostError(BlockError):
    """The worker died before it reported."""

    code = "worker_lost"
    retryable = True


class NonFiniteKernelError(BlockError):
    """A kernel value is NaN or infinite; names the layer and the first bad pair."""

    code = "non_finite_kernel"


class StoreError(GramserveError, OSError):
    """Stored numbers cannot be read or written."""

    code = "store"


class StoreNotFoundError(StoreError):
    """No such data set or Gram matrix."""

    code = "not_found"


class BlockMissingError(StoreError):
    """The rows asked for cross blocks that are planned but not computed yet."""

    code = "block_missing"
    retryable = True


class CorruptBlockError(StoreError):
    """The bytes of a block do not match their checksum."""

    code = "corrupt_block"


class StoreMismatchError(StoreError):
    """The place holds a Gram matrix of other content."""

    code = "store_mismatch"


class StorageFullError(StoreError):
    """No space is left where the block was to be written."""

    code = "storage_full"
    retryable = True


class CatalogError(GramserveError, RuntimeError):
    """The database refuses."""

    code = "catalog"


class JobNotFoundError(CatalogError, LookupError):
    """No such job."""

    code = "job_not_found"


class JobCancelledError(CatalogError):
    """The job that was waited for was cancelled; what it computed stays stored."""

    code = "job_cancelled"


class IllegalTransitionError(CatalogError):
    """The job's state does not allow what was asked."""

    code = "illegal_transition"


class ConflictError(CatalogError):
    """Something else holds what was asked for."""

    code = "conflict"


class CatalogRevisionError(CatalogError):
    """The database was made by another version of gramserve."""

    code = "catalog_revision"


class AccessError(GramserveError, PermissionError):
    """No key, an unknown key, or a key without the scope; ``context["status"]`` is 401 or 403."""

    code = "access"


class QuotaError(GramserveError):
    """Over a limit of the server; ``context["status"]`` is 413 or 429."""

    code = "quota"


class WaitTimeoutError(GramserveError, TimeoutError):
    """What was waited for goes on, but the time the caller gave is over."""

    code = "wait_timeout"
    retryable = True


class ServiceUnreachableError(GramserveError, ConnectionError):
    """The server does not answer."""

    code = "service_unreachable"
    retryable = True


def _tree(kind: type[GramserveError]) -> dict[str, type[GramserveError]]:
    found = {kind.code: kind}
    for child in kind.__subclasses__():
        found.update(_tree(child))
    return found


def error_for_code(code: str) -> type[GramserveError]:
    """Return the class whose ``code`` this is, or :class:`GramserveError`.

    Parameters
    ----------
    code : str
        A stable error code, for example ``"block_missing"``.

    Returns
    -------
    type
        The class to raise for it.

    Examples
    --------
    >>> error_for_code("shape").__name__
    'ShapeError'
    """
    return _tree(GramserveError).get(code, GramserveError)


class QuadratureWarning(UserWarning):
    """The quadrature of a numeric activation has not converged: it needs a higher degree."""
