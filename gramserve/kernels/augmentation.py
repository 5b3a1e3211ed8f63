"""Kernels averaged over a group of transformations of the images.

``K(x, x') = mean over g, g' of k(g x, g' x')`` is what training on all transformed copies of a
data set means for a kernel machine. Where the network commutes with the group, that is the mean
over ``g'`` of ``k(x, g' x')``: twice the work of a kernel for flips, not four times.

References
----------
Li et al., "Enhanced Convolutional Neural Tangent Kernels", 2019, section 4.
Haasdonk and Burkhardt, "Invariant Kernel Functions for Pattern Analysis and Machine Learning",
2007 (integration over a group).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gramserve.kernels.items import Items, item_keys, label_items
from gramserve.kernels.precision import result_dtype
from gramserve.kernels.protocol import Engine
from gramserve.spec import Augmentation, KernelSpec, OutputName, Precision, infer_shapes
from gramserve.stages import GROUP_SIZES, commutes_with_group


def transformed(values: NDArray[Any], group: Augmentation) -> Iterator[NDArray[Any]]:
    """Yield items under every transformation of a group, the items themselves first.

    Parameters
    ----------
    values : ndarray, (n, H, W, C) or (n, L, C)
        The items.
    group : {"none", "flips", "vertical_flips", "rotations", "dihedral"}
        "flips" reverses the last axis of positions, "vertical_flips" the first, "rotations" turns
        by quarters, "dihedral" is rotations with and without a flip.

    Yields
    ------
    ndarray, of the shape of the items
        Views.
    """
    turns = range(4) if group in {"rotations", "dihedral"} else range(1)
    for turn in turns:
        turned = np.rot90(values, turn, axes=(1, 2)) if turn else values
        yield turned
        if group in {"flips", "dihedral"}:
            yield turned[..., ::-1, :]
        elif group == "vertical_flips":
            yield turned[:, ::-1]


_STRIPS = 8
"""Strips of rows that a triangle is cut into: they cover a sixteenth more than it."""

_FEWEST_ROWS = 16
"""Rows of a strip, at least."""


@dataclass(frozen=True)
class AveragingEngine:
    """An engine that averages what another one evaluates."""

    inner: Engine
    """The engine of the kernel itself."""

    @property
    def name(self) -> str:
        """What ``engine=`` calls it."""
        return self.inner.name

    @property
    def device(self) -> str:
        """Where it computes."""
        return self.inner.device

    @property
    def about(self) -> str:
        """How it computes, in a few words for people."""
        return self.inner.about

    def missing(self) -> str | None:
        """Return why it cannot run here at all, or None if it can."""
        return self.inner.missing()

    def refusal(self, spec: KernelSpec, precision: Precision) -> str | None:
        """Return why it cannot run a kernel, or None if it can."""
        return self.inner.refusal(_alone(spec), precision)

    def warm(self) -> None:
        """Do once for this machine what the first call would wait for."""
        self.inner.warm()

    def temporary_bytes(
        self, spec: KernelSpec, item_shape: Sequence[int], precision: Precision
    ) -> int:
        """Return the temporary memory that one thread needs at least, in bytes."""
        return self.inner.temporary_bytes(_alone(spec), item_shape, precision)

    def variance_length(self, spec: KernelSpec, item_shape: Sequence[int]) -> int:
        """Return how many variances it keeps of an item: those of all its transforms."""
        return GROUP_SIZES[spec.augment] * self.inner.variance_length(_alone(spec), item_shape)

    def variances(
        self,
        spec: KernelSpec,
        values: NDArray[Any],
        precision: Precision,
        *,
        memory_bytes: int,
        threads: int = 1,
    ) -> NDArray[Any]:
        """Return (n, V) variances of items under every transformation, one after the other.

        Parameters and errors are those of the engine inside.
        """
        infer_shapes(spec, values.shape[1:])
        limits = {"memory_bytes": memory_bytes, "threads": threads}
        parts = [
            self.inner.variances(_alone(spec), turned, precision, **limits)
            for turned in transformed(values, spec.augment)
        ]
        return np.concatenate(parts, axis=1)

    def evaluate(
        self,
        spec: KernelSpec,
        rows: Items,
        columns: Items,
        precision: Precision,
        *,
        memory_bytes: int,
        threads: int = 1,
    ) -> dict[OutputName, NDArray[Any]]:
        """Return (n, m) means of every kernel the spec asks for.

        Items and their transforms that hold the same numbers are known to be the same item, as a
        symmetric image is its own flip. Parameters and errors are those of the engine inside.
        """
        infer_shapes(spec, rows.values.shape[1:])
        limits = {"memory_bytes": memory_bytes, "threads": threads}
        inner, alone = self.inner, _alone(spec)
        mirrored = np.array_equal(*label_items(rows, columns))
        mine = list(_transformed_items(spec, rows))
        yours = mine if rows is columns else list(_transformed_items(spec, columns))
        if commutes_with_group(spec, rows.values.shape[1:]):
            mine = mine[:1]
        # In float64: eight numbers of float32 would lose a digit.
        total = {name: np.zeros((len(rows), len(columns))) for name in spec.outputs}
        for first, left in enumerate(mine):
            for second, right in enumerate(yours):
                # The sum is symmetric though its terms are not: one triangle of each is enough.
                # Of items with themselves the engine computes no more by itself.
                whole = not mirrored or first == second
                step = len(rows) if whole else max(_FEWEST_ROWS, -(-len(rows) // _STRIPS))
                for start in range(0, len(rows), step):
                    strip, rest = slice(start, start + step), slice(0 if whole else start, None)
                    one, others = (left, right) if whole else (left[strip], right[rest])
                    found = inner.evaluate(alone, one, others, precision, **limits)
                    for name, values in found.items():
                        total[name][strip, rest] += values
        count, dtype = len(mine) * len(yours), result_dtype(precision)
        return {
            name: _finished(values / count, dtype, mirrored=mirrored)
            for name, values in total.items()
        }


def _alone(spec: KernelSpec) -> KernelSpec:
    return spec.model_copy(update={"augment": "none"})


def _transformed_items(spec: KernelSpec, items: Items) -> Iterator[Items]:
    size = GROUP_SIZES[spec.augment]
    length = items.variances.shape[1] // size
    for number, values in enumerate(transformed(items.values, spec.augment)):
        part = items.variances[:, number * length : (number + 1) * length]
        yield Items(values, part, item_keys(values))


def _finished(mean: NDArray[Any], dtype: np.dtype[Any], *, mirrored: bool) -> NDArray[Any]:
    """Return a mean in the engine's dtype; symmetric to the last bit where it is."""
    if mirrored:
        mean = np.triu(mean) + np.triu(mean, 1).T
    return mean.astype(dtype)
