"""How a Gram matrix on a server came about, whether it is right, and that it stays."""

import time
from typing import Any

from gramserve.client.cards import Facts, duration_text, html_card, text_card
from gramserve.client.connection import Connection
from gramserve.errors import StoreNotFoundError, WaitTimeoutError
from gramserve.spec.cache_reports import AuditReport, BlockProvenance, PinInfo, ReportCard

_REPORT_TIMEOUT_S = 3600.0
_LOOK_S = 0.5


class Card(ReportCard):
    """The report of a Gram matrix, as people read it."""

    def __repr__(self) -> str:
        return text_card(f"Gram {self.id}", card_facts(self))

    def __str__(self) -> str:
        return repr(self)

    def _repr_html_(self) -> str:
        return html_card(f"Gram {self.id}", card_facts(self))


def card_facts(card: ReportCard) -> Facts:
    """Return what people want to know of a report.

    Parameters
    ----------
    card : ReportCard
        The report.

    Returns
    -------
    dict
        Name and value of each line.
    """
    made, found = card.provenance, card.findings
    facts: dict[str, object] = {
        "shape": f"{card.shape[0]} x {card.shape[1]}",
        "complete": "yes" if card.complete else "no",
    }
    if found is not None:
        symmetry = {True: "to the bit", False: "NO: mirrors differ", None: None}
        facts["symmetric"] = symmetry[found.symmetric]
        facts["largest value"] = f"{found.largest_value:.6g}"
    if found is not None and found.diagonal is not None:
        facts["diagonal"] = f"{found.diagonal.smallest:.6g} to {found.diagonal.largest:.6g}"
    if found is not None and found.spectrum is not None:
        ends = found.spectrum
        how = "exact" if ends.method == "exact" else f"Lanczos, {ends.steps} steps"
        off = "" if ends.method == "exact" else f" (an eigenvalue lies within {ends.residual:.2g})"
        facts["eigenvalues"] = f"{ends.smallest:.6g}{off} to {ends.largest:.6g}; {how}"
    facts["blocks"] = f"{made.computed} computed, {made.adopted} taken over" + (
        f", {made.unrecorded} of unknown origin" if made.unrecorded else ""
    )
    facts["computed in"] = duration_text(made.seconds)
    facts["engines"] = ", ".join(sorted({one.engine or "?" for one in made.makers})) or None
    facts["audit"] = None if card.audit is None else audit_text(card.audit)
    facts["kernel"] = card.kernel_digest
    facts["code version"] = card.kernel_code_version
    facts["versions"] = ", ".join(f"{name} {number}" for name, number in card.versions.items())
    return facts


def audit_text(audit: AuditReport) -> str:
    """Return an audit in one line.

    Parameters
    ----------
    audit : AuditReport
        The audit.

    Returns
    -------
    str
        For people.
    """
    word = {True: "passed", False: "FAILED", None: audit.state}[audit.passed]
    return (
        f"{word}: {audit.blocks_done} of {audit.blocks_total} blocks computed again in float64, "
        f"difference {audit.largest_difference:.2g} of {audit.tolerance:.2g} allowed"
    )


class GramProvenance:
    """The part of a Gram matrix that is about its making and keeping.

    Parameters
    ----------
    connection : Connection
        To the server.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def id(self) -> str:
        """32 hexadecimal digits that name its content and layout."""
        raise NotImplementedError

    def report_card(self, *, timeout_s: float = _REPORT_TIMEOUT_S) -> Card:
        """Say what its numbers are, who made them, and how to make them again.

        Parameters
        ----------
        timeout_s : float
            Seconds to wait; a worker of the server reads the whole matrix.

        Returns
        -------
        Card
            A :class:`~gramserve.spec.cache_reports.ReportCard` that shows itself: symmetry,
            diagonal, smallest eigenvalue, makers, versions and the request that asks for it.
        """
        body = self._connection.repeat(
            lambda: self._connection.send("GET", f"/v1/grams/{self.id}/report", timeout_s=timeout_s)
        )
        return self._connection.read_body(Card, body)

    def blocks(self) -> list[BlockProvenance]:
        """Return how every block came about.

        Returns
        -------
        list of BlockProvenance
            Engine, device, seconds, worker, checksum, and where it was taken over from.
        """
        return [
            self._connection.read_body(BlockProvenance, body)
            for body in self._connection.get_list(f"/v1/grams/{self.id}/blocks")
        ]

    def audit(self, every: int = 100, *, timeout_s: float | None = None) -> AuditReport:
        """Have every k-th block computed again in float64, and wait for the comparison.

        Parameters
        ----------
        every : int
            Every how many blocks one is computed again.
        timeout_s : float, optional
            Seconds to wait; the audit goes on at the server afterwards.

        Returns
        -------
        AuditReport
            ``passed`` says whether all of them agree to the tolerance of the precision.

        Raises
        ------
        WaitTimeoutError
            After ``timeout_s``.
        ConflictError
            When an audit of this matrix goes on already.
        """
        self._connection.send("POST", f"/v1/grams/{self.id}:audit", json={"every": every})
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while (report := self.last_audit()) is None or report.state == "running":
            if deadline is not None and time.monotonic() > deadline:
                msg = f"the audit of {self.id} goes on; look at last_audit() later"
                raise WaitTimeoutError(msg)
            time.sleep(_LOOK_S)
        return report

    def last_audit(self) -> AuditReport | None:
        """Return the present or the last audit, None when there was none."""
        try:
            body = self._connection.get(f"/v1/grams/{self.id}/audit")
        except StoreNotFoundError:
            return None
        return self._connection.read_body(AuditReport, body)

    def pin(self, reason: str | None = None) -> list[PinInfo]:
        """Keep the matrix from being evicted, in the name of this client's key.

        Parameters
        ----------
        reason : str, optional
            For whoever wonders.

        Returns
        -------
        list of PinInfo
            All pins of the matrix.
        """
        return self._pins(
            self._connection.send("PUT", f"/v1/grams/{self.id}/pin", json={"reason": reason})
        )

    def unpin(self, *, everybody: bool = False) -> list[PinInfo]:
        """Take back this client's pin.

        Parameters
        ----------
        everybody : bool
            Take back the pins of others too; needs a key of scope ``admin``.

        Returns
        -------
        list of PinInfo
            The pins that are left.
        """
        params = {"everybody": "true"} if everybody else {}
        return self._pins(
            self._connection.send("DELETE", f"/v1/grams/{self.id}/pin", params=params)
        )

    def _pins(self, body: Any) -> list[PinInfo]:
        return [self._connection.read_body(PinInfo, one) for one in body["pins"]]
