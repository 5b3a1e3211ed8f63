"""Commands about jobs and their rows on a server."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from gramserve.cli.options import (
    BlockSizeOption,
    JsonFlag,
    KernelOption,
    KeyOption,
    PrecisionOption,
    UrlOption,
    connected,
    read_kernel,
)
from gramserve.cli.terminal import Terminal, table

JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="Id of the job.")]


def submit(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="IMAGES.npy to upload, or a data set's digest.")
    ],
    kernel: KernelOption,
    other: Annotated[
        str | None, typer.Option("--other", help="OTHER.npy or digest for the columns.")
    ] = None,
    precision: PrecisionOption = "float32",
    block_size: BlockSizeOption = None,
    priority: Annotated[
        int, typer.Option("--priority", min=-100, max=100, help="Higher goes first.")
    ] = 0,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has ended.")] = False,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Ask a server for a Gram matrix; prints the job."""
    terminal = Terminal(as_json)
    with connected(url, api_key) as client:
        job = client.submit(
            data,
            other=other,
            kernel=read_kernel(kernel),
            precision=precision,
            block_size=block_size,
            priority=priority,
        )
        terminal.say(f"job {job.id}")
        if wait:
            job.wait(progress=terminal.shows_progress)
        terminal.data(job.report, repr(job))


def status(
    job_id: Annotated[
        str | None, typer.Argument(metavar="[JOB]", help="Id of one job; all when not given.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has ended.")] = False,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Show how far a job is, or list all jobs."""
    terminal = Terminal(as_json)
    with connected(url, api_key) as client:
        if job_id is not None:
            job = client.job(job_id)
            if wait:
                job.wait(progress=terminal.shows_progress)
            terminal.data(job.report, repr(job))
            return
        if wait:
            msg = "--wait needs the id of a job"
            raise typer.BadParameter(msg)
        reports = [job.report for job in client.jobs()]
        rows = [
            (
                report.id,
                report.state,
                f"{report.blocks.done}/{report.blocks.total}",
                report.waiting_reason,
                f"{report.created:%Y-%m-%d %H:%M}",
            )
            for report in reports
        ]
        columns = ("id", "state", "blocks", "waiting for", "created")
        terminal.data(reports, table(columns, rows) if rows else "no jobs")


def cancel(
    job_id: JobArgument,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Stop a job; what it has stored stays."""
    with connected(url, api_key) as client:
        job = client.job(job_id)
        job.cancel()
        Terminal(as_json).data(job.report, repr(job))


def rows(
    gram_id: Annotated[str, typer.Argument(metavar="GRAM", help="Id of the Gram matrix.")],
    start: Annotated[int, typer.Option("--start", min=0, help="First row.")] = 0,
    stop: Annotated[
        int | None, typer.Option("--stop", min=0, help="Row after the last; all when not given.")
    ] = None,
    wait: Annotated[
        float, typer.Option("--wait", min=0, help="Seconds to wait for missing blocks.")
    ] = 0.0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write an .npy file instead of numbers.")
    ] = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Read rows of a Gram matrix: one line of numbers each, JSON, or an .npy file."""
    terminal = Terminal(as_json)
    with connected(url, api_key) as client:
        gram = client.gram(gram_id)
        last = len(gram) if stop is None else stop
        if out is not None:
            _save(gram, start, last, wait, out)
            answer = {"out": str(out), "rows": last - start, "columns": gram.shape[1]}
            terminal.data(answer, f"{last - start} x {gram.shape[1]} in {out}")
            return
        values = gram.rows(start, last, wait=wait)
    if as_json:
        terminal.data({"start": start, "stop": last, "rows": values.tolist()}, "")
        return
    for row in values:
        # repr of a NumPy number as Python's own: the shortest text that reads back the same.
        sys.stdout.write(" ".join(str(number) for number in row) + "\n")


def _save(gram: Any, start: int, stop: int, wait: float, out: Path) -> None:
    """Write rows to an .npy file, a run at a time, and leave no half-written file behind."""
    import numpy as np

    from gramserve.errors import RowRangeError, StoreError

    if not 0 <= start <= stop <= len(gram):
        msg = f"rows {start} to {stop} of a Gram matrix with {len(gram)} rows"
        raise RowRangeError(msg)
    if out.is_dir():
        msg = f"{out} is a directory; name a file"
        raise StoreError(msg)
    partial = out.with_name(out.name + ".partial")
    shape = (stop - start, gram.shape[1])
    step = max(1, 2**26 // max(1, shape[1] * gram.dtype.itemsize))
    try:
        with partial.open("wb") as file:
            header = {"descr": gram.dtype.str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for first in range(start, stop, step):
                file.write(gram.rows(first, min(first + step, stop), wait=wait).tobytes())
        partial.replace(out)
    except OSError as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, StoreError):
            raise
        msg = f"{out} cannot be written: {error.strerror or error}; name another place with --out"
        raise StoreError(msg) from error
