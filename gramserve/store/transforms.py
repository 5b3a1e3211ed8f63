"""Fitted recipes: their constants, so that new items are preprocessed by the very same numbers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gramserve.errors import BlockMissingError, CorruptBlockError, StoreNotFoundError
from gramserve.preprocessing import FittedRecipe
from gramserve.spec import PreprocessingRecipe, fit_address, parse_recipe
from gramserve.store.files import (
    StagedDirectory,
    remove_directory,
    reporting,
    write_file,
)
from gramserve.store.header import METADATA
from gramserve.store.item_array import ItemArray
from gramserve.store.leftovers import sweep

FORMAT = "gramserve.transform/1"
"""Version of the stored form."""

_RUN_BYTES = 4 * 2**20


class TransformStore:
    """The fitted recipes of a state directory.

    Each is a Zarr group ``KEY/`` with an array ``N.NAME`` for every constant of step N. It is
    filled under another name and renamed when it is complete.

    Parameters
    ----------
    root : Path or str
        Directory of the fitted recipes.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def save(self, fitted: FittedRecipe, fit: str) -> None:
        """Store a fitted recipe, unless it is stored already.

        Parameters
        ----------
        fitted : FittedRecipe
            With its constants.
        fit : str
            Digest of the data set it was fitted on.

        Raises
        ------
        StorageFullError
            If there is no space; nothing is left behind.
        """
        place = self._path(fitted.recipe, fit)
        if place.exists():
            return
        with StagedDirectory(self.root) as staged:
            for number, constants in enumerate(fitted.constants):
                for name, values in constants.items():
                    _write(staged.path / f"{number}.{name}", values)
            own = {
                "format": FORMAT,
                "recipe": fitted.recipe.canonical(),
                "fit": fit,
                "item_shape": list(fitted.item_shape),
                "constants": [sorted(constants) for constants in fitted.constants],
            }
            group = {"zarr_format": 3, "node_type": "group", "attributes": {"gramserve": own}}
            write_file(staged.path / METADATA, [json.dumps(group, indent=2).encode()])
            staged.commit(place)

    def load(self, recipe: PreprocessingRecipe, fit: str) -> FittedRecipe:
        """Read a fitted recipe, checking its checksums.

        Parameters
        ----------
        recipe : PreprocessingRecipe
            The steps.
        fit : str
            Digest of the data set it was fitted on.

        Returns
        -------
        FittedRecipe
            In memory.

        Raises
        ------
        StoreNotFoundError
            If there is none.
        CorruptBlockError
            If something of it is damaged or missing.
        """
        place = self._path(recipe, fit)
        try:
            said = _read_header(place)
            steps = parse_recipe(said["recipe"])
            constants = tuple(
                {name: ItemArray.open(place / f"{number}.{name}").read() for name in names}
                for number, names in enumerate(said["constants"])
            )
            shape = tuple(int(length) for length in said["item_shape"])
        except FileNotFoundError:
            msg = f"the recipe is not fitted on data set {fit} yet"
            raise StoreNotFoundError(msg, dataset=fit) from None
        except (BlockMissingError, StoreNotFoundError, ValueError, KeyError, TypeError) as error:
            raise CorruptBlockError(
                f"{place} cannot be read: {error}; delete this directory, it is fitted again",
                path=str(place),
            ) from error
        return FittedRecipe(steps, shape, constants)

    def drop_fitted_on(self, fit: str) -> int:
        """Remove all that was fitted on a data set.

        Parameters
        ----------
        fit : str
            Digest of the data set.

        Returns
        -------
        int
            How many there were.
        """
        dropped = 0
        with reporting("list", self.root):
            places = list(self.root.iterdir()) if self.root.is_dir() else []
        for place in places:
            try:
                is_one = _read_header(place)["fit"] == fit
            except (OSError, ValueError, KeyError, TypeError):
                continue  # still being written, or damaged: nobody knows what it was fitted on
            dropped += is_one and remove_directory(place)
        return dropped

    def sweep(self) -> int:
        """Remove what writers that died left behind, and say how many there were."""
        return sweep(self.root)

    def _path(self, recipe: PreprocessingRecipe, fit: str) -> Path:
        return self.root / fit_address(recipe, fit)


def _write(place: Path, values: NDArray[Any]) -> None:
    row_bytes = max(1, values.nbytes // len(values))
    run = max(1, _RUN_BYTES // row_bytes)
    array = ItemArray.create(place, shape=values.shape, dtype=np.float64, run=run)
    for number in range(array.runs):
        array.write_run(number, values[slice(*array.run_range(number))])


def _read_header(place: Path) -> dict[str, Any]:
    said: dict[str, Any] = json.loads((place / METADATA).read_bytes())["attributes"]["gramserve"]
    return said
