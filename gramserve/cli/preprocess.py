"""`gramserve preprocess`: items preprocessed on this machine, from a file into a file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gramserve.cli.options import (
    ImagesArgument,
    JsonFlag,
    RecipeOption,
    ResultDtypeOption,
    read_spec,
)
from gramserve.cli.terminal import Terminal
from gramserve.errors import StoreError

if TYPE_CHECKING:
    from gramserve.preprocessing import PreprocessedItems


def preprocess(
    images: ImagesArgument,
    recipe: RecipeOption,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT.npy", help="Where they go.")],
    fit: Annotated[
        Path | None,
        typer.Option(
            "--fit",
            metavar="TRAIN.npy",
            exists=True,
            dir_okay=False,
            help="Items that the recipe is fitted on; IMAGES.npy when not given.",
        ),
    ] = None,
    dtype: ResultDtypeOption = "float32",
    as_json: JsonFlag = False,
) -> None:
    """Preprocess items on this machine, for `gramserve compute`."""
    from gramserve.preprocessing import PreprocessedItems, fit_recipe
    from gramserve.spec import parse_recipe
    from gramserve.store import open_npy

    steps = parse_recipe(read_spec(recipe, "--recipe", "recipe"))
    source = open_npy(images)
    fitted = fit_recipe(source if fit is None else open_npy(fit), steps)
    items = PreprocessedItems(source, fitted, dtype)
    _save(items, out)
    answer = {
        "out": str(out),
        "shape": list(items.shape),
        "dtype": dtype,
        "recipe": steps.canonical(),
    }
    Terminal(as_json).data(answer, f"{' x '.join(map(str, items.shape))} {dtype} in {out}")


def _save(items: "PreprocessedItems", out: Path) -> None:
    """Write items to an .npy file, a run at a time, and leave no half-written file behind."""
    import numpy as np

    from gramserve.preprocessing.runs import runs_of

    if out.is_dir():
        msg = f"{out} is a directory; name a file"
        raise StoreError(msg)
    partial = out.with_name(out.name + ".partial")
    header = {"descr": items.dtype.str, "fortran_order": False, "shape": items.shape}
    try:
        with partial.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for start, stop in runs_of(items.shape):
                file.write(items[start:stop].tobytes())
        partial.replace(out)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if not isinstance(error, OSError) or isinstance(error, StoreError):
            raise
        msg = f"{out} cannot be written: {error.strerror or error}; name another place with --out"
        raise StoreError(msg) from error
