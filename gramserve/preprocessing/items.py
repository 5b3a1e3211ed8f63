"""Items that are preprocessed when they are read."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gramserve.preprocessing.fit import fit_recipe
from gramserve.preprocessing.fitted import FittedRecipe, check_dtype
from gramserve.preprocessing.runs import ItemSource
from gramserve.spec.preprocessing import PreprocessingRecipe, ResultDtype


class PreprocessedItems:
    """Items of a source as a fitted recipe makes them, computed slice by slice.

    Parameters
    ----------
    source : ItemSource, (n, *item_shape)
        The items as they came.
    fitted : FittedRecipe
        What is applied.
    dtype : {"float32", "float64"}
        Of the result.

    Raises
    ------
    ShapeError
        When the items have another shape than those the recipe was fitted on.
    """

    def __init__(self, source: ItemSource, fitted: FittedRecipe, dtype: ResultDtype) -> None:
        fitted.check_shape(tuple(source.shape[1:]))
        self._source, self._fitted, self._name = source, fitted, dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Items first, as in the source."""
        return tuple(self._source.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the result."""
        return np.dtype(self._name)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, run: slice, /) -> NDArray[Any]:
        return self._fitted.apply_run(self._source[run], self._name, run.start or 0)


def preprocess(
    x: ArrayLike,
    recipe: str | Mapping[str, Any] | PreprocessingRecipe,
    *,
    fit: ArrayLike | None = None,
    dtype: ResultDtype = "float32",
    memory_bytes: int | None = None,
) -> NDArray[Any]:
    """Preprocess items in memory, without a server.

    Parameters
    ----------
    x : array_like, (n, H, W, C), (n, L, C) or (n, D)
        Items of any real dtype.
    recipe : str, mapping or PreprocessingRecipe
        The name of a recipe, a name with options, or steps.
    fit : array_like, (m, ...), optional
        Items that fitted steps take their statistics from; ``x`` itself when not given. Test
        images are preprocessed with ``fit=`` the training images.
    dtype : {"float32", "float64"}
        Of the result; everything is computed in float64.
    memory_bytes : int, optional
        As in :func:`~gramserve.preprocessing.fit.fit_recipe`.

    Returns
    -------
    ndarray, (n, ...)
        New, of the shape of ``x``.

    Raises
    ------
    SpecError
        When recipe or items are wrong; all subclasses say what to do.
    MemoryBudgetError
        When items have too many values to be whitened.

    See Also
    --------
    gramserve.preprocessing.fit.fit_recipe : fit once, apply to many.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[1, 3], [5, 5]], dtype=np.uint8)
    >>> preprocess(x, {"steps": [{"type": "center"}, {"type": "normalize", "norm": "rms"}]})
    array([[-1.,  1.],
           [ 0.,  0.]], dtype=float32)
    """
    check_dtype(dtype)
    fitted = fit_recipe(x if fit is None else fit, recipe, memory_bytes=memory_bytes)
    return fitted.apply(x, dtype=dtype)
