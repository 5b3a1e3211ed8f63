"""The report of a matrix: what its numbers say, who made them, how to make them again."""

import platform
from importlib.metadata import PackageNotFoundError, version

from gramserve.blocks import INTERACTIVE_PRIORITY, Inspection, run_inspection
from gramserve.catalog import BlockGroup, GramRecord
from gramserve.service.background import run_in_daemon
from gramserve.service.open_grams import OpenGram
from gramserve.service.state import ServiceState
from gramserve.spec import KERNEL_CODE_VERSION, parse_kernel
from gramserve.spec.cache_reports import (
    Diagonal,
    Findings,
    Makers,
    Provenance,
    ReportCard,
    Spectrum,
)

_PACKAGES = ("gramserve", "numpy", "scipy", "numba", "zarr", "distributed")


async def make_report_card(state: ServiceState, gram: OpenGram) -> ReportCard:
    """Return the report of a matrix.

    Parameters
    ----------
    state : ServiceState
        Of the server; its workers read the matrix.
    gram : OpenGram
        Complete or not; what its numbers say is told of a complete one.

    Returns
    -------
    ReportCard

    Raises
    ------
    CorruptBlockError
        If a block is damaged.
    """
    stored = await state.grams.stored_blocks(gram)
    findings = None
    if gram.is_complete:
        path = str(gram.store.path)
        found = await run_in_daemon(
            lambda: run_inspection(state.executor, path, INTERACTIVE_PRIORITY), "report"
        )
        findings = _findings(found)
    record = await state.catalog.gram(gram.record.id)
    spec = parse_kernel(record.spec)
    return ReportCard(
        id=record.id,
        shape=(record.rows, record.columns),
        complete=gram.is_complete,
        findings=findings,
        provenance=_provenance(stored, await state.catalog.block_groups(record.id)),
        audit=state.auditor.report(record),
        request=_request(record),
        kernel_digest=spec.digest(),
        kernel_address=record.kernel_address,
        kernel_code_version=gram.store.attributes.get("kernel_code_version", KERNEL_CODE_VERSION),
        versions=_versions(),
    )


def _request(record: GramRecord) -> dict[str, object]:
    return {
        "dataset": record.dataset,
        "other": record.other,
        "kernel": dict(record.spec),
        "precision": record.precision,
        "block_size": record.block_size,
    }


def _findings(found: Inspection) -> Findings:
    diagonal, spectrum = found.diagonal, found.spectrum
    return Findings(
        symmetric=found.symmetric,
        largest_value=found.largest_value,
        diagonal=None if diagonal is None else Diagonal(smallest=diagonal[0], largest=diagonal[1]),
        spectrum=None if spectrum is None else Spectrum.model_validate(spectrum),
    )


def _provenance(stored: int, groups: list[BlockGroup]) -> Provenance:
    # Blocks without a maker and without an origin were found by a verification.
    known = [group for group in groups if group.adopted or group.code_version is not None]
    adopted = sum(group.blocks for group in known if group.adopted)
    computed = sum(group.blocks for group in known if not group.adopted)
    return Provenance(
        blocks=stored,
        computed=computed,
        adopted=adopted,
        unrecorded=max(0, stored - computed - adopted),
        seconds=sum(group.seconds for group in known),
        makers=[
            Makers(
                engine=group.engine,
                device=group.device,
                code_version=group.code_version,
                worker=group.worker,
                adopted=group.adopted,
                blocks=group.blocks,
                seconds=group.seconds,
            )
            for group in known
        ],
    )


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a source tree
            continue
    return found
