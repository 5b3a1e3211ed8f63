"""The shared cache of a server: what it holds, whether it is intact, and making room."""

from gramserve.client.connection import Connection
from gramserve.spec.cache_reports import CacheReport, EvictionReport, VerificationReport


class Cache:
    """What a server stores of Gram matrices.

    Parameters
    ----------
    connection : Connection
        To the server.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def report(self) -> CacheReport:
        """Return sizes by matrix, kernel and user, the hit rate, and what is in use.

        Returns
        -------
        CacheReport
            Its ``entries`` are in the order in which they would be evicted.
        """
        return self._connection.read_body(CacheReport, self._connection.get("/v1/cache"))

    def evict(
        self, *, max_bytes: int | None = None, free_bytes: int | None = None, execute: bool = False
    ) -> EvictionReport:
        """Evict the matrices used least recently; needs a key of scope ``admin``.

        Parameters
        ----------
        max_bytes : int, optional
            What matrices may occupy at most.
        free_bytes : int, optional
            What must be free on the server's disk afterwards.
        execute : bool
            False only says what would happen.

        Returns
        -------
        EvictionReport
            Pinned matrices, those of unfinished jobs and those being read stay.
        """
        body = {"max_bytes": max_bytes, "free_bytes": free_bytes, "execute": execute}
        answer = self._connection.send("POST", "/v1/cache:gc", json=body, timeout_s=3600.0)
        return self._connection.read_body(EvictionReport, answer)

    def verify(
        self, gram: str | None = None, *, drop: bool = True, max_age_s: float | None = None
    ) -> VerificationReport:
        """Begin to check every stored byte; needs a key of scope ``admin``.

        Parameters
        ----------
        gram : str, optional
            Only the matrix of this id.
        drop : bool
            Whether damaged blocks are removed, so that they are computed again.
        max_age_s : float, optional
            Leave out matrices that were verified within so many seconds.

        Returns
        -------
        VerificationReport
            As it begins; :meth:`verification` tells how far it is.

        Raises
        ------
        ConflictError
            When one goes on already.
        """
        body = {"gram": gram, "drop": drop, "max_age_s": max_age_s}
        answer = self._connection.send("POST", "/v1/cache:verify", json=body)
        return self._connection.read_body(VerificationReport, answer)

    def verification(self) -> VerificationReport:
        """Return the present or the last verification.

        Returns
        -------
        VerificationReport

        Raises
        ------
        StoreNotFoundError
            When nothing was verified since the server started.
        """
        answer = self._connection.get("/v1/cache/verification")
        return self._connection.read_body(VerificationReport, answer)

    def stop_verification(self) -> VerificationReport:
        """End the verification; matrices that were done need not be checked again.

        Returns
        -------
        VerificationReport
            How far it was.
        """
        answer = self._connection.send("DELETE", "/v1/cache/verification")
        return self._connection.read_body(VerificationReport, answer)

    def __repr__(self) -> str:
        return f"Cache({self._connection.url!r})"
