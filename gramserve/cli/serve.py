"""`gramserve serve`: run a server."""

from typing import Annotated, Literal

import typer

from gramserve.cli.options import DataDirOption, EngineOption, WorkersOption, read_settings


def serve(
    data_dir: DataDirOption = None,
    host: Annotated[
        str | None, typer.Option("--host", help="Address to listen on. [default: 127.0.0.1]")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one. [default: 8750]"),
    ] = None,
    workers: WorkersOption = None,
    scheduler_address: Annotated[
        str | None,
        typer.Option("--scheduler-address", help="A Dask scheduler, tcp://host:8786."),
    ] = None,
    database_url: Annotated[
        str | None, typer.Option("--database-url", help="SQLAlchemy URL of the catalog.")
    ] = None,
    engine: EngineOption = "auto",
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"] | None,
        typer.Option("--log-level", help="How much is written on standard error. [default: info]"),
    ] = None,
) -> None:
    """Run a server: HTTP, the scheduler and its workers in one process tree.

    Every option is also an environment variable, GRAMSERVE_DATA_DIR and so on; the command line
    goes before the environment.
    """
    from gramserve.service import serve as run_server

    settings = read_settings(
        data_dir=data_dir,
        host=host,
        port=port,
        workers=workers,
        scheduler_address=scheduler_address,
        database_url=database_url,
        engine=None if engine == "auto" else engine,
        log_level=log_level,
    )
    run_server(settings)
