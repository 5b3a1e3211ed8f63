"""What the process's exit code says, and which error becomes which."""

from gramserve.errors import (
    AccessError,
    BlockError,
    BlockMissingError,
    CatalogError,
    CatalogRevisionError,
    GramserveError,
    JobCancelledError,
    JobNotFoundError,
    PlanError,
    QuotaError,
    ServiceUnreachableError,
    SpecError,
    StoreError,
    StoreNotFoundError,
    WaitTimeoutError,
)

OK = 0
UNEXPECTED = 1
USAGE = 2
BAD_REQUEST = 3
NOT_FOUND = 4
ACCESS = 5
INCOMPLETE = 6
UNREACHABLE = 7
STORAGE = 8
INTERRUPTED = 130

MEANINGS: dict[int, str] = {
    OK: "done",
    UNEXPECTED: "unexpected error: please report it with the output of --debug",
    USAGE: "the command line cannot be understood",
    BAD_REQUEST: "the request is wrong or cannot be planned; the message lists every fault",
    NOT_FOUND: "no such data set, Gram matrix or job",
    ACCESS: "no key, an unknown key, or a key that may not do this",
    INCOMPLETE: "blocks failed or are missing, or the job was cancelled or not waited for",
    UNREACHABLE: "the server does not answer",
    STORAGE: "the storage is full, unwritable, corrupt or holds something else",
    INTERRUPTED: "interrupted with Ctrl-C",
}
"""What each exit code means; docs/cli.md repeats it, and a test compares them."""

# The first class that fits decides, so the narrower ones stand above their bases.
_CODES: tuple[tuple[type[GramserveError], int], ...] = (
    (StoreNotFoundError, NOT_FOUND),
    (JobNotFoundError, NOT_FOUND),
    (BlockMissingError, INCOMPLETE),
    (JobCancelledError, INCOMPLETE),
    (WaitTimeoutError, INCOMPLETE),
    (BlockError, INCOMPLETE),
    (AccessError, ACCESS),
    (ServiceUnreachableError, UNREACHABLE),
    (CatalogRevisionError, STORAGE),
    (StoreError, STORAGE),
    (SpecError, BAD_REQUEST),
    (PlanError, BAD_REQUEST),
    (QuotaError, BAD_REQUEST),
    (CatalogError, BAD_REQUEST),
)


def exit_code(error: GramserveError) -> int:
    """Return the exit code of an error.

    Parameters
    ----------
    error : GramserveError
        What ended the command.

    Returns
    -------
    int
        One of :data:`MEANINGS`.
    """
    return next((code for kind, code in _CODES if isinstance(error, kind)), UNEXPECTED)


def epilog() -> str:
    """Return the exit codes as the last lines of the help.

    Returns
    -------
    str
        One paragraph for each code.
    """
    lines = [f"{code}: {meaning}" for code, meaning in MEANINGS.items()]
    return "Exit codes:\n\n" + "\n\n".join(lines)
