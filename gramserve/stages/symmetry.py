"""Which transformations of images a network commutes with.

Reversing an axis of the input reverses it after a convolution or pool whose outermost outputs
leave as much room at both ends: output ``o`` reads ``(s o + d t - l) / f`` at tap ``t``, so with
``N`` inputs, ``M`` outputs and ``T`` taps that is ``s (M - 1) + d (T - 1) - 2 l = f (N - 1)``,
modulo ``N`` where it wraps around. Then ``k(g x, g x') = k(x, x')``, and an average over a group
needs one side of the pair only.

References
----------
Li et al., "Enhanced Convolutional Neural Tangent Kernels", 2019 (flips).
"""

from collections.abc import Sequence

from gramserve.spec import Augmentation, KernelSpec, input_positions, layers
from gramserve.spec.shapes import Positions, positions_of
from gramserve.stages.windows import as_pair, windows_of

GROUP_SIZES: dict[Augmentation, int] = {
    "none": 1, "flips": 2, "vertical_flips": 2, "rotations": 4, "dihedral": 8,
}  # fmt: skip
"""How many transformations each group has, the identity included."""


def count_evaluations(spec: KernelSpec, item_shape: Sequence[int]) -> int:
    """Return how many pairs of transformed items a pair of items takes.

    Parameters
    ----------
    spec : KernelSpec
        The kernel.
    item_shape : sequence of int
        Shape of one item.

    Returns
    -------
    int
        1 without an augmentation; the size of the group where the network commutes with it, else
        the square.
    """
    size = GROUP_SIZES[spec.augment]
    return size if size == 1 or commutes_with_group(spec, item_shape) else size**2


def commutes_with_group(spec: KernelSpec, item_shape: Sequence[int]) -> bool:
    """Return whether a network commutes with the transformations it is averaged over.

    Parameters
    ----------
    spec : KernelSpec
        With an augmentation other than "none".
    item_shape : sequence of int
        Shape of one item.

    Returns
    -------
    bool
        Whether ``k(g x, g x') = k(x, x')`` for all of them, exactly. Of random networks of finite
        width that is so on average only: they never do.

    Examples
    --------
    >>> from gramserve.spec import parse_kernel
    >>> spec = parse_kernel({"preset": "myrtle5", "augment": "flips"})
    >>> commutes_with_group(spec, (8, 8, 3)), commutes_with_group(spec, (8, 9, 3))
    (True, False)
    """
    if spec.finite is not None:
        return False
    positions = input_positions(spec, item_shape)
    turns = spec.augment in {"rotations", "dihedral"}
    axes: tuple[int, ...]
    if spec.augment == "flips":
        axes = (len(positions) - 1,)
    else:
        axes = (0,) if spec.augment == "vertical_flips" else (0, 1)
    return _commutes(spec.layers, positions, axes, turns=turns)


def _commutes(
    network: Sequence[layers.Layer], positions: Positions, axes: tuple[int, ...], *, turns: bool
) -> bool:
    for layer in network:
        after = positions_of(layer, positions)
        if isinstance(layer, layers.Residual | layers.Concat):
            if not all(_commutes(part, positions, axes, turns=turns) for part in layer.branches):
                return False
        elif after:
            if not all(_reverses(layer, positions, after, axis) for axis in axes):
                return False
            down, across = windows_of(layer, positions)
            if turns and down != across:
                return False
        positions = after
    return True


def _reverses(layer: layers.Layer, before: Positions, after: Positions, axis: int) -> bool:
    window = windows_of(layer, before)[axis]
    inputs, outputs = as_pair(before)[axis], as_pair(after)[axis]
    reach = window.stride * (outputs - 1) + window.dilation * (window.size - 1) - 2 * window.low
    gap = reach - window.fill * (inputs - 1)
    is_circular = getattr(layer, "padding", None) == "circular"
    return gap % inputs == 0 if is_circular else gap == 0
