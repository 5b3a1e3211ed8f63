"""Exact Gram matrices of convolutional neural kernels, as a service.

Names are imported when they are first used, so ``import gramserve`` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gramserve import errors
    from gramserve.client import Client, Dataset, Gram, Job, Plan, connect
    from gramserve.compute import compute_gram
    from gramserve.derivative import compute_derivative
    from gramserve.errors import GramserveError
    from gramserve.learn import GradientDescent
    from gramserve.preprocessing import FittedRecipe, fit_recipe, preprocess
    from gramserve.spec import KernelSpec, PreprocessingRecipe, layers, parse_kernel, parse_recipe

__version__ = "0.1.0"

__all__ = [
    "Client",
    "Dataset",
    "FittedRecipe",
    "GradientDescent",
    "Gram",
    "GramserveError",
    "Job",
    "KernelSpec",
    "Plan",
    "PreprocessingRecipe",
    "__version__",
    "compute_derivative",
    "compute_gram",
    "connect",
    "errors",
    "fit_recipe",
    "layers",
    "parse_kernel",
    "parse_recipe",
    "preprocess",
]

_HOMES = {
    "Client": "gramserve.client",
    "Dataset": "gramserve.client",
    "FittedRecipe": "gramserve.preprocessing",
    "GradientDescent": "gramserve.learn",
    "Gram": "gramserve.client",
    "GramserveError": "gramserve.errors",
    "Job": "gramserve.client",
    "KernelSpec": "gramserve.spec",
    "Plan": "gramserve.client",
    "PreprocessingRecipe": "gramserve.spec",
    "compute_derivative": "gramserve.derivative",
    "compute_gram": "gramserve.compute",
    "connect": "gramserve.client",
    "fit_recipe": "gramserve.preprocessing",
    "layers": "gramserve.spec",
    "parse_kernel": "gramserve.spec",
    "parse_recipe": "gramserve.spec",
    "preprocess": "gramserve.preprocessing",
}


def __getattr__(name: str) -> Any:
    if name == "errors":
        return importlib.import_module("gramserve.errors")
    if name not in _HOMES:
        msg = f"module 'gramserve' has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
