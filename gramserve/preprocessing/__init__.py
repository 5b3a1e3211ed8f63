"""What happens to items before a kernel sees them: recipes fitted on items and applied to others.

Pure functions of arrays, in float64, in runs of items: no files, no network.
"""

from gramserve.preprocessing.fit import check_fits_in_memory, fit_recipe
from gramserve.preprocessing.fitted import FittedRecipe
from gramserve.preprocessing.items import PreprocessedItems, preprocess
from gramserve.preprocessing.runs import ItemSource
from gramserve.preprocessing.steps import check_item_shape

__all__ = [
    "FittedRecipe",
    "ItemSource",
    "PreprocessedItems",
    "check_fits_in_memory",
    "check_item_shape",
    "fit_recipe",
    "preprocess",
]
