"""What the catalog remembers of every block: who made it, when, and what its content is called."""

from collections.abc import Iterable, Mapping

from gramserve.blocks import BlockResult, Failure, GramWork
from gramserve.catalog import BlockRecord
from gramserve.plan import BlockIndex
from gramserve.spec import KERNEL_CODE_VERSION, BlockAddresses, OutputName
from gramserve.store import DatasetStore


class Provenance:
    """Writes results of a run as records of the catalog.

    Parameters
    ----------
    work : GramWork
        What is run.
    grams : mapping
        Id of the Gram matrix of every kernel.
    datasets : DatasetStore
        Names ranges of items.
    """

    def __init__(self, work: GramWork, grams: Mapping[str, str], datasets: DatasetStore) -> None:
        self._work = work
        self._grams = grams
        self._datasets = datasets
        recipe = work.recipe
        self._addresses = {
            kernel: BlockAddresses(recipe.spec.for_output(kernel), recipe.precision)
            for kernel in grams
        }
        self._digests: dict[tuple[str, int, int], str] = {}

    def of_results(self, results: Iterable[BlockResult]) -> list[BlockRecord]:
        """Return a record for every block that a task stored, for each kernel.

        Parameters
        ----------
        results : iterable of BlockResult
            Failed attempts among them are left out: most of them are tried again.

        Returns
        -------
        list of BlockRecord
            For :meth:`gramserve.catalog.Catalog.record_blocks`.
        """
        return [
            BlockRecord(
                gram=self._grams[kernel],
                i=result.block[0],
                j=result.block[1],
                state="stored",
                address=self._address(kernel, result.block),
                engine=result.engine,
                device=result.device,
                code_version=KERNEL_CODE_VERSION,
                seconds=result.seconds,
                worker=result.worker,
                checksum=checksum,
            )
            for result in results
            if result.failure is None
            for kernel, checksum in result.checksums
        ]

    def of_failures(self, failed: Mapping[BlockIndex, Failure]) -> list[BlockRecord]:
        """Return a record for every block that was set aside, for each kernel.

        Parameters
        ----------
        failed : mapping
            The last failure of every block.

        Returns
        -------
        list of BlockRecord
            The catalog keeps a stored block of one kernel when only the other one failed.
        """
        return [
            BlockRecord(
                gram=gram,
                i=block[0],
                j=block[1],
                state="failed",
                error={"code": failure.code, "message": failure.message},
            )
            for block, failure in failed.items()
            for gram in self._grams.values()
        ]

    def _address(self, kernel: OutputName, block: BlockIndex) -> str:
        grid, places = self._work.grid, self._work.places
        rows = self._range_digest(places[0].digest, *grid.row_range(block[0]))
        columns = self._range_digest(places[-1].digest, *grid.column_range(block[1]))
        return self._addresses[kernel].of(rows, columns)

    def _range_digest(self, dataset: str, start: int, stop: int) -> str:
        key = (dataset, start, stop)
        if key not in self._digests:
            self._digests[key] = self._datasets.range_digest(dataset, start, stop)
        return self._digests[key]
