"""A stand-in for arrays of a card: NumPy underneath, and no mixing with arrays of the host.

Where CuPy refuses an array of NumPy, or to become one by itself, so do these; so a transfer that
was forgotten shows without a card. The namespace knows the functions that CuPy has of those asked
for here, and nothing else.
"""

import contextlib
from types import SimpleNamespace

import numpy as np

from gramserve.errors import DeviceMemoryError

_FUNCTIONS = (
    "abs", "all", "arange", "arctan", "arctan2", "argwhere", "asarray", "broadcast_to", "clip",
    "cos", "cosh", "diagonal", "divide", "einsum", "exp", "expm1", "full_like", "hypot",
    "isfinite", "isinf", "log1p", "matmul", "maximum", "minimum", "multiply", "ones_like", "sign",
    "sin", "sinh", "sqrt", "subtract", "tanh", "trace", "unravel_index", "where", "zeros",
    "zeros_like",
)  # fmt: skip
"""The words of the dense engine, all of which CuPy has."""

_FROM_HOST = {"asarray"}


def _inside(value, *, from_host=False):
    """Return what NumPy is to be given for an argument."""
    if isinstance(value, StrictArray):
        return value.numbers
    if isinstance(value, tuple | list):
        return type(value)(_inside(each, from_host=from_host) for each in value)
    if isinstance(value, np.ndarray) and not from_host:
        raise TypeError(f"an array of the host, of shape {value.shape}, meets one of the device")
    return value


def _outside(value):
    if isinstance(value, tuple):
        return tuple(_outside(each) for each in value)
    # A reduction to one number stays on the device, as with CuPy.
    return StrictArray(np.asarray(value)) if isinstance(value, np.ndarray | np.generic) else value


def _function(name):
    def call(*arguments, **options):
        given = [_inside(each, from_host=name in _FROM_HOST) for each in arguments]
        return _outside(
            getattr(np, name)(*given, **{key: _inside(value) for key, value in options.items()})
        )

    return call


strict = SimpleNamespace(nan=np.nan, **{name: _function(name) for name in _FUNCTIONS})


class StrictArray:
    """An array that only meets its like."""

    __array_ufunc__ = None

    def __init__(self, numbers):
        self.numbers = numbers

    def __array_namespace__(self, api_version=None):
        return strict

    def __array__(self, *_, **__):
        raise TypeError("implicit conversion to an array of the host; use to_host")

    def get(self):
        return self.numbers.copy()

    def __len__(self):
        return len(self.numbers)

    def __bool__(self):
        return bool(self.numbers)

    def __iter__(self):
        return (StrictArray(np.asarray(each)) for each in self.numbers)

    def __int__(self):
        return int(self.numbers)

    def __getitem__(self, where):
        return _outside(self.numbers[_inside(where)])

    def __setitem__(self, where, value):
        self.numbers[_inside(where)] = _inside(value)

    shape = property(lambda self: self.numbers.shape)
    ndim = property(lambda self: self.numbers.ndim)
    size = property(lambda self: self.numbers.size)
    dtype = property(lambda self: self.numbers.dtype)
    T = property(lambda self: StrictArray(self.numbers.T))


def _method(name):
    def call(self, *arguments, **options):
        found = getattr(self.numbers, name)(*_inside(arguments), **options)
        if found is self.numbers:  # in place
            return self
        return _outside(found)

    return call


_ARITHMETIC = ("add", "sub", "mul", "truediv", "pow")
_COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne", "and", "or")
for _name in (
    *(f"__{each}__" for each in (*_ARITHMETIC, *_COMPARISONS, "matmul", "mod", "floordiv")),
    *(f"__{kind}{each}__" for kind in "ri" for each in _ARITHMETIC),
    *("__neg__", "__invert__", "__rmatmul__", "reshape", "transpose", "copy", "sum", "mean"),
    *("max", "min", "all", "astype", "take", "ravel"),
):
    setattr(StrictArray, _name, _method(_name))


class StrictStream:
    def synchronize(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class StrictDevice:
    """Has memory enough; ``failures`` uploads find none all the same.

    Attributes
    ----------
    uploads : int
        So far.
    """

    name = "a stand-in"
    architecture = "sm_80"
    multiprocessors = 1
    shared_bytes = 0

    def __init__(self, free=2**30, failures=0):
        self.free, self.failures, self.uploads = free, failures, 0

    def free_bytes(self):
        return self.free

    def stream(self):
        return StrictStream()

    def guard(self):
        return contextlib.nullcontext()

    def upload(self, values, stream):
        self.uploads += 1
        if self.failures:
            self.failures -= 1
            raise DeviceMemoryError("out of memory: use smaller batches")
        return StrictArray(np.array(values, order="C"))
