"""What every engine can be asked for."""

from collections.abc import Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from gramserve.kernels.items import Items
from gramserve.spec import KernelSpec, OutputName, Precision


class Engine(Protocol):
    """Evaluates kernels of items; holds no state between calls."""

    @property
    def name(self) -> str:
        """What ``engine=`` calls it."""
        ...

    @property
    def device(self) -> str:
        """Where it computes, for provenance: "cpu", or the name of a card."""
        ...

    @property
    def about(self) -> str:
        """How it computes, in a few words for people."""
        ...

    def missing(self) -> str | None:
        """Return why it cannot run here at all, with the remedy, or None if it can."""
        ...

    def refusal(self, spec: KernelSpec, precision: Precision) -> str | None:
        """Return why it cannot run a kernel, or None if it can."""
        ...

    def warm(self) -> None:
        """Do once for this machine what the first call would wait for."""
        ...

    def temporary_bytes(
        self, spec: KernelSpec, item_shape: Sequence[int], precision: Precision
    ) -> int:
        """Return the temporary memory that one thread needs at least, in bytes."""
        ...

    def variance_length(self, spec: KernelSpec, item_shape: Sequence[int]) -> int:
        """Return how many variances it keeps of an item."""
        ...

    def variances(
        self,
        spec: KernelSpec,
        values: NDArray[Any],
        precision: Precision,
        *,
        memory_bytes: int,
        threads: int = 1,
    ) -> NDArray[Any]:
        """Return (n, V) variances of (n, *item_shape) items; called once per item."""
        ...

    def evaluate(
        self,
        spec: KernelSpec,
        rows: Items,
        columns: Items,
        precision: Precision,
        *,
        memory_bytes: int,
        threads: int = 1,
    ) -> dict[OutputName, NDArray[Any]]:
        """Return (n, m) values of every kernel the spec asks for.

        Variances come with the items and are never computed here. Pairs with equal keys are the
        same item: there ``S`` is set to ``q`` at equal positions before every dual. Where all
        keys agree in order, the block is exactly symmetric. At most ``threads`` threads run.
        """
        ...
