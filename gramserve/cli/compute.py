"""`gramserve compute`: a Gram matrix without a server."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gramserve.cli.exits import INTERRUPTED
from gramserve.cli.options import (
    BlockSizeOption,
    CacheOption,
    EngineOption,
    ImagesArgument,
    JsonFlag,
    KernelOption,
    OtherOption,
    PrecisionOption,
    WorkersOption,
    read_kernel,
    read_settings,
)
from gramserve.cli.terminal import Terminal
from gramserve.errors import (
    BlockError,
    GramserveError,
    StorageFullError,
    WorkerLostError,
    error_for_code,
)

if TYPE_CHECKING:
    from gramserve.blocks import Failure, GramWork, Progress, RunOutcome
    from gramserve.cli.local import LocalRequest
    from gramserve.plan import BlockIndex, Plan

_SMALL_JOB_S = 5.0
_NAMED_BLOCKS = 5


def compute(
    images: ImagesArgument,
    kernel: KernelOption,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="GRAM.zarr", help="Where the matrix goes.")
    ],
    other: OtherOption = None,
    precision: PrecisionOption = "float32",
    block_size: BlockSizeOption = None,
    workers: WorkersOption = None,
    engine: EngineOption = "auto",
    cache: CacheOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Compute a Gram matrix on this machine, into a Zarr array.

    Run the same command again to go on after an interruption: stored blocks are kept. A kernel
    spec that asks for both kernels makes a Zarr group with the arrays nngp and ntk.
    """
    from gramserve.cli.local import LocalRequest
    from gramserve.machine import usable_cores
    from gramserve.spec import parse_kernel

    terminal = Terminal(as_json)
    settings = read_settings(workers=workers)
    request = LocalRequest(
        images=images,
        other=other,
        out=out,
        spec=parse_kernel(read_kernel(kernel)),
        precision=precision,
        block_size=block_size,
        engine=engine,
        workers=max(1, settings.workers),
        worker_memory_bytes=settings.memory_per_task_bytes,
        cache=cache,
    )
    plan = request.plan()
    is_small = plan.cost.seconds * request.workers < _SMALL_JOB_S
    # Starting processes would take longer than a small job: threads share its blocks.
    processes = 0 if workers is None and is_small else settings.workers
    work = request.open(plan, threads=settings.engine_threads if processes else usable_cores())
    started = time.perf_counter()
    try:
        request.adopt(work)
        outcome = _run(work, processes, plan.engine, terminal)
    except KeyboardInterrupt:
        terminal.say(f"interrupted; {_how_to_go_on(request)}")
        raise typer.Exit(INTERRUPTED) from None
    if not outcome.is_complete:
        raise _failure(outcome, request)
    request.remove_working_directory()
    seconds = time.perf_counter() - started
    answer = _answer(request, plan, outcome, seconds)
    computed = outcome.done - outcome.reused
    terminal.data(
        answer,
        f"{plan.grid.rows} x {plan.grid.columns} in {out}: {computed} blocks computed, "
        f"{outcome.reused} were there, {seconds:.1f} s",
    )


def _run(work: "GramWork", workers: int, engine: str, terminal: Terminal) -> "RunOutcome":
    from gramserve.blocks import Scheduler, open_executor
    from gramserve.cli.bar import ComputeBar

    work.drop_damaged()
    executor = open_executor(workers=workers, engine=engine)
    outage: list[str] = []
    try:
        with ComputeBar(visible=terminal.shows_progress) as bar:

            def observe(progress: "Progress") -> None:
                bar.show(progress)
                if progress.waiting_reason:
                    # A server waits for space; a command that nobody watches should say so.
                    outage.append(progress.waiting_reason)

            outcome = Scheduler(executor).run(work, observe, lambda: bool(outage))
    finally:
        executor.close()
    if outage and not outcome.is_complete:
        msg = f"{outage[0]}; run the same command again to go on"
        # The scheduler tells the reason in words: no space left, or a lost cluster.
        kind = StorageFullError if "space" in outage[0] else WorkerLostError
        raise kind(msg, done=outcome.done, total=outcome.total)
    return outcome


def _answer(
    request: "LocalRequest", plan: "Plan", outcome: "RunOutcome", seconds: float
) -> dict[str, Any]:
    from gramserve.kernels import result_dtype

    return {
        "out": str(request.out),
        "arrays": {name: str(path) for name, path in request.grams.items()},
        "shape": [plan.grid.rows, plan.grid.columns],
        "dtype": str(result_dtype(request.precision)),
        "kernels": list(request.spec.outputs),
        "precision": request.precision,
        "block_size": plan.grid.block_size,
        "blocks": {
            "total": outcome.total,
            "done": outcome.done,
            "reused": outcome.reused,
            "computed": outcome.done - outcome.reused,
            "failed": len(outcome.failed),
        },
        "engine": plan.engine,
        "seconds": round(seconds, 3),
    }


def _how_to_go_on(request: "LocalRequest") -> str:
    return (
        f"run the same command again to go on: stored blocks are in {request.out}, "
        f"items and variances in {request.working_directory}"
    )


def _failure(outcome: "RunOutcome", request: "LocalRequest") -> GramserveError:
    failed: dict[BlockIndex, Failure] = outcome.failed
    faults = [
        {"loc": f"blocks[{block[0]}, {block[1]}]", "message": failure.message}
        for block, failure in failed.items()
    ]
    lines = [f"{len(failed)} of {outcome.total} blocks failed, {outcome.done} are stored"]
    lines += [f"  {fault['loc']}: {fault['message']}" for fault in faults[:_NAMED_BLOCKS]]
    if len(faults) > _NAMED_BLOCKS:
        lines.append(f"  and {len(faults) - _NAMED_BLOCKS} more")
    lines.append(_how_to_go_on(request))
    first = next(iter(failed.values()), None)
    kind = error_for_code(first.code) if first else BlockError
    # Whatever a block failed of, the command ends as one with failed blocks.
    kind = kind if issubclass(kind, BlockError) else BlockError
    return kind("\n".join(lines), errors=faults, blocks=[list(block) for block in failed])
