"""A recipe together with what it needs from the data set it was fitted on."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gramserve.errors import ShapeError, SpecError
from gramserve.preprocessing.runs import checked_items, runs_of
from gramserve.preprocessing.steps import Constants, apply_steps
from gramserve.spec.names import nearest
from gramserve.spec.preprocessing import RESULT_DTYPES, PreprocessingRecipe, ResultDtype


@dataclass(frozen=True)
class FittedRecipe:
    """A recipe that can be applied to any items of one shape.

    Examples
    --------
    >>> import numpy as np
    >>> from gramserve.preprocessing import fit_recipe
    >>> train = np.array([[0.0, 10.0], [2.0, 30.0]])
    >>> fitted = fit_recipe(train, {"steps": [{"type": "standardize"}]})
    >>> fitted.apply([[1.0, 40.0]]).tolist()
    [[0.0, 2.0]]
    """

    recipe: PreprocessingRecipe
    """The steps."""
    item_shape: tuple[int, ...]
    """Shape of one item, before and after."""
    constants: tuple[Constants, ...]
    """For every step what it was fitted to; empty for steps that are not fitted."""

    def apply(self, items: ArrayLike, *, dtype: ResultDtype = "float32") -> NDArray[Any]:
        """Preprocess items.

        Parameters
        ----------
        items : array_like, (n, *item_shape)
            Of any real dtype; computed in float64, in runs that take some MiB each.
        dtype : {"float32", "float64"}
            Of the result.

        Returns
        -------
        ndarray, (n, *item_shape)
            New.

        Raises
        ------
        ShapeError
            When the items have another shape.
        UnsupportedDtypeError, InvalidDataError
            When they are not real and finite, or the result overflows; names the first item.
        """
        values = checked_items(items)
        self.check_shape(values.shape[1:])
        result = np.empty(values.shape, check_dtype(dtype))
        for start, stop in runs_of(values.shape):
            result[start:stop] = self.apply_run(values[start:stop], dtype, start)
        return result

    def apply_run(
        self, items: NDArray[Any], dtype: ResultDtype = "float64", first: int = 0
    ) -> NDArray[Any]:
        """Preprocess one run of items in one go.

        Parameters
        ----------
        items : ndarray, (n, *item_shape)
            Few enough to be held in float64 several times.
        dtype : {"float32", "float64"}
            Of the result.
        first : int
            Number of the first item, for messages.

        Returns
        -------
        ndarray, (n, *item_shape)
            New.

        Raises
        ------
        InvalidDataError
            When an item is not finite, or the result is too large; names the first one.
        """
        pairs = tuple(zip(self.recipe.steps, self.constants, strict=True))
        return apply_steps(pairs, items, dtype, first)

    def check_shape(self, item_shape: tuple[int, ...]) -> None:
        """Refuse items of another shape.

        Parameters
        ----------
        item_shape : tuple of int
            Shape of one of them.

        Raises
        ------
        ShapeError
            With both shapes.
        """
        if item_shape != self.item_shape:
            msg = (
                f"items have shape {item_shape}, those that the recipe was fitted on "
                f"{self.item_shape}; preprocess items of one shape"
            )
            if (*item_shape, 1) == self.item_shape:
                msg += ", x[..., None]"
            raise ShapeError(msg, errors=[{"loc": "items", "message": msg}])


def check_dtype(dtype: str) -> ResultDtype:
    """Return the dtype of a result, refusing what is none.

    Parameters
    ----------
    dtype : str
        As given.

    Returns
    -------
    {"float32", "float64"}
        The same.

    Raises
    ------
    SpecError
        When it is another.
    """
    if dtype not in RESULT_DTYPES:
        msg = f"dtype {dtype!r} is not known{nearest(dtype, RESULT_DTYPES)}"
        raise SpecError(msg, errors=[{"loc": "dtype", "message": msg}])
    return dtype
