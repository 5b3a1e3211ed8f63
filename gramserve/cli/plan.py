"""`gramserve plan`: what a job would cost, here or at a server."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gramserve.cli.options import (
    BlockSizeOption,
    CacheOption,
    EngineOption,
    JsonFlag,
    KernelOption,
    KeyOption,
    PrecisionOption,
    UrlOption,
    WorkersOption,
    connected,
    read_kernel,
    read_settings,
)
from gramserve.cli.terminal import Terminal

if TYPE_CHECKING:
    from gramserve.cli.local import LocalRequest
    from gramserve.spec.status import PlanReport


def plan(
    kernel: KernelOption,
    images: Annotated[
        Path | None,
        typer.Argument(
            metavar="[IMAGES.npy]",
            exists=True,
            dir_okay=False,
            help="Items, to plan a `gramserve compute` on this machine.",
        ),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="Digest, to plan a job of a server instead.")
    ] = None,
    other: Annotated[
        str | None,
        typer.Option("--other", help="OTHER.npy or digest for the columns."),
    ] = None,
    precision: PrecisionOption = "float32",
    block_size: BlockSizeOption = None,
    workers: WorkersOption = None,
    engine: EngineOption = "auto",
    cache: CacheOption = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Say how a job would be cut into blocks and what it would cost; runs nothing."""
    from gramserve.cli.local import LocalRequest
    from gramserve.spec import parse_kernel

    if (images is None) == (dataset is None):
        msg = "give either IMAGES.npy or --dataset DIGEST"
        raise typer.BadParameter(msg)
    request: dict[str, Any] = {"precision": precision, "block_size": block_size}
    if images is None:
        with connected(url, api_key) as client:
            report: PlanReport = client.plan(
                str(dataset), other, kernel=read_kernel(kernel), **request
            )
    else:
        settings = read_settings(workers=workers)
        report = _here(
            LocalRequest(
                images=images,
                other=None if other is None else Path(other),
                out=Path("gram.zarr"),  # planning writes nothing
                spec=parse_kernel(read_kernel(kernel)),
                engine=engine,
                workers=max(1, settings.workers),
                worker_memory_bytes=settings.memory_per_task_bytes,
                cache=cache,
                **request,
            )
        )
    from gramserve.client.cards import text_card
    from gramserve.client.plan import plan_facts

    Terminal(as_json).data(report, text_card("plan", plan_facts(report)))


def _here(request: "LocalRequest") -> "PlanReport":
    from gramserve.spec.status import PlanReport

    return PlanReport.model_validate(request.plan().as_report())
