"""Shapes: which positions the state has after every layer, and padding arithmetic.

A state is a covariance between positions of one item and positions of another; its shape
here is the positions of one side: ``(H, W)`` for images, ``(L,)`` for sequences and ``()``
once (or if) there are none.

References
----------
Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gramserve.errors import ShapeError
from gramserve.spec.layers import (
    AvgPool,
    Center,
    CknPool,
    Concat,
    Conv,
    ConvLocal,
    Dense,
    Flatten,
    GlobalAvgPool,
    GlobalSumPool,
    Layer,
    Residual,
    SumPool,
)
from gramserve.spec.network import KernelSpec

Positions = tuple[int, ...]


@dataclass(frozen=True)
class LayerShape:
    """The state after one layer."""

    type: str
    """The layer's type; "input" for the items themselves."""
    positions: Positions
    """Positions of one side of the state."""


def _per_axis(value: object) -> tuple[int, ...]:
    if not isinstance(value, tuple):
        msg = f"per-axis settings of a normalised KernelSpec are tuples, got {value!r}"
        raise ShapeError(msg)
    return value


def filled_length(length: int, fill: int) -> int:
    """Return the length of an axis after inserting ``fill - 1`` zeros between positions.

    Parameters
    ----------
    length : int
        Positions of the input.
    fill : int
        Distance of neighbours after filling; 1 inserts nothing.

    Returns
    -------
    int
        ``(length - 1) fill + 1``.
    """
    return (length - 1) * fill + 1


def resolve_padding(layer: Layer, positions: Positions) -> tuple[tuple[int, int], ...]:
    """Return the (low, high) padding of a convolution or pool for this input.

    "same" and "circular" keep ``ceil(n / stride)`` of the ``n`` (filled) positions and put the
    odd one of an odd total at the far end.

    Parameters
    ----------
    layer : Conv, ConvLocal, AvgPool or SumPool
        A layer of a normalised spec.
    positions : tuple of int
        Positions of the layer's input.

    Returns
    -------
    tuple of (int, int)
        One pair for each axis; for "circular" the positions to wrap on each side.
    """
    if isinstance(layer, Conv | ConvLocal):
        window = [
            dilation * (size - 1) + 1
            for size, dilation in zip(_per_axis(layer.size), _per_axis(layer.dilation), strict=True)
        ]
        fill: Sequence[int] = _per_axis(layer.fill)
    elif isinstance(layer, AvgPool | SumPool):
        window, fill = list(_per_axis(layer.window)), [1] * len(positions)
    else:
        msg = f"a {layer.type} layer has no padding"
        raise ShapeError(msg)
    if not isinstance(layer.padding, str):
        return layer.padding
    if layer.padding == "valid":
        return ((0, 0),) * len(positions)
    pairs = []
    for axis, stride in enumerate(_per_axis(layer.strides)):
        length = filled_length(positions[axis], fill[axis])
        kept = -(-length // stride)
        total = max((kept - 1) * stride + window[axis] - length, 0)
        pairs.append((total // 2, total - total // 2))
    return tuple(pairs)


def _windows(length: int, window: int, stride: int, padding: tuple[int, int]) -> int:
    return (length + sum(padding) - window) // stride + 1


def _conv_positions(layer: Conv | ConvLocal, positions: Positions) -> Positions:
    padding = resolve_padding(layer, positions)
    sizes, strides = _per_axis(layer.size), _per_axis(layer.strides)
    dilations, fills = _per_axis(layer.dilation), _per_axis(layer.fill)
    return tuple(
        _windows(
            filled_length(length, fills[axis]),
            dilations[axis] * (sizes[axis] - 1) + 1,
            strides[axis],
            padding[axis],
        )
        for axis, length in enumerate(positions)
    )


def _pool_positions(layer: AvgPool | SumPool, positions: Positions) -> Positions:
    padding = resolve_padding(layer, positions)
    windows, strides = _per_axis(layer.window), _per_axis(layer.strides)
    return tuple(
        _windows(length, windows[axis], strides[axis], padding[axis])
        for axis, length in enumerate(positions)
    )


def _ckn_positions(layer: CknPool, positions: Positions) -> Positions:
    short = 0 if layer.kind == "average" else 1
    return tuple(length // layer.subsampling - short for length in positions)


def positions_of(layer: Layer, positions: Positions, where: str = "layer") -> Positions:
    """Return the positions after a layer.

    Parameters
    ----------
    layer : Layer
        A layer of a normalised spec.
    positions : tuple of int
        Positions before it.
    where : str
        The layer's place in the spec, for messages: ``"layers[3]"``.

    Returns
    -------
    tuple of int
        Positions after it.

    Raises
    ------
    ShapeError
        When the layer cannot follow; names the place and both shapes.
    """
    label = f"{where} ({layer.type})"
    match layer:
        case Dense():
            if positions:
                raise _misfit(
                    label,
                    positions,
                    "dense needs a state without positions, (): put a global pool or flatten "
                    "before it, or use conv of size 1",
                )
            return ()
        case Residual() | Concat():
            return _branch_positions(layer, positions, where)
        case Conv() | ConvLocal():
            after = _need_positions(layer, positions, label) and _conv_positions(layer, positions)
        case AvgPool() | SumPool():
            after = _need_positions(layer, positions, label) and _pool_positions(layer, positions)
        case CknPool():
            after = _need_positions(layer, positions, label) and _ckn_positions(layer, positions)
        case Center():
            return _need_positions(layer, positions, label)
        case Flatten() | GlobalAvgPool() | GlobalSumPool():
            _need_positions(layer, positions, label)
            return ()
        case _:
            return positions
    if min(after) < 1:
        raise _misfit(label, positions, f"{_extent(layer)} leaves positions {after}")
    return after


def _extent(layer: Layer) -> str:
    fields = layer.model_dump(exclude={"type", "w_std", "b_std", "average", "trainable"})
    fields.pop("normalize_edges", None)
    return ", ".join(f"{name} {value}" for name, value in fields.items())


def _misfit(label: str, positions: Positions, reason: str) -> ShapeError:
    message = f"input has positions {positions}; {reason}"
    return ShapeError(
        f"{label}: {message}", errors=[{"loc": label.partition(" ")[0], "message": message}]
    )


def _need_positions(layer: Layer, positions: Positions, label: str) -> Positions:
    if not positions:
        raise _misfit(
            label, positions, f"{layer.type} needs positions, (H, W) or (L,), and there are none"
        )
    return positions


def _branch_positions(layer: Residual | Concat, positions: Positions, where: str) -> Positions:
    ends = []
    for index, branch in enumerate(layer.branches):
        state = positions
        for depth, inner in enumerate(branch):
            state = positions_of(inner, state, f"{where}.branches[{index}][{depth}]")
        ends.append(state)
    for index, end in enumerate(ends):
        if end != ends[0]:
            raise _misfit(
                f"{where} ({layer.type})",
                positions,
                f"branches must end alike, but branches[0] ends with positions {ends[0]} and "
                f"branches[{index}] with {end}",
            )
    return ends[0]


def input_positions(spec: KernelSpec, item_shape: Sequence[int]) -> Positions:
    """Return the positions of the items themselves.

    Parameters
    ----------
    spec : KernelSpec
        Its ``input.layout`` says how to read the item shape.
    item_shape : sequence of int
        Shape of one item: (H, W, C), (D,), or (L, C) with layout "sequence".

    Returns
    -------
    tuple of int
        (H, W), () or (L,).

    Raises
    ------
    ShapeError
        When the rank does not fit the layout; a stack of grey images is told to add an axis.
    """
    shape = tuple(item_shape)
    if any(length < 1 for length in shape):
        msg = f"items of shape {shape} hold no numbers"
        raise ShapeError(msg, errors=[{"loc": "items", "message": msg}])
    if spec.input.layout == "sequence":
        if len(shape) == 2:
            return shape[:1]
        msg = f'items of shape {shape} are not sequences (L, C), as input.layout "sequence" asks'
    elif len(shape) in (1, 3):
        return shape[:-1]
    elif len(shape) == 2:
        msg = (
            f"items of shape {shape} have no channel axis: grey images are passed as "
            f'x[..., None], of item shape {(*shape, 1)}; for sequences (L, C) set "input": '
            '{"layout": "sequence"} in the kernel spec'
        )
    else:
        msg = f"items of shape {shape} are neither images (H, W, C) nor vectors (D,)"
    raise ShapeError(msg, errors=[{"loc": "items", "message": msg}])


def _require_group(spec: KernelSpec, positions: Positions) -> None:
    """Refuse an augmentation of items that it does not act on."""
    msg = ""
    if spec.augment != "none" and not positions:
        msg = "acts on images and sequences, and these items are vectors"
    elif spec.augment not in {"none", "flips"} and len(positions) == 1:
        msg = 'acts on images; sequences have "flips"'
    elif spec.augment in {"rotations", "dihedral"} and positions[0] != positions[1]:
        msg = f"acts on square images, and these have positions {positions}"
    if msg:
        msg = f'augment "{spec.augment}" {msg}'
        raise ShapeError(msg, errors=[{"loc": "augment", "message": msg}])


def _require_number(positions: Positions, where: str, count: int) -> None:
    """Refuse a network that ends with positions."""
    if positions:
        end = f"{where}[{count - 1}]" if count else where
        msg = (
            f"{end}: the network ends with positions {positions}, but a kernel is one number per "
            "pair, positions (): end with global_avg_pool, global_sum_pool or flatten"
        )
        raise ShapeError(msg, errors=[{"loc": end, "message": msg}])


def infer_shapes(spec: KernelSpec, item_shape: Sequence[int]) -> tuple[LayerShape, ...]:
    """Return the shape of the state after every layer, refusing impossible stacks.

    Parameters
    ----------
    spec : KernelSpec
        The kernel.
    item_shape : sequence of int
        Shape of one item: (H, W, C), (D,), or (L, C) with layout "sequence".

    Returns
    -------
    tuple of LayerShape
        The input first, then one for every layer.

    Raises
    ------
    ShapeError
        When a layer cannot follow or the last state still has positions; names the layer's
        index and both shapes.

    Examples
    --------
    >>> from gramserve.spec import parse_kernel
    >>> [shape.positions for shape in infer_shapes(parse_kernel("myrtle5"), (8, 8, 3))][-5:]
    [(2, 2), (2, 2), (2, 2), (), ()]
    """
    positions = input_positions(spec, item_shape)
    _require_group(spec, positions)
    variances = spec.input.channel_variances
    if isinstance(variances, tuple) and len(variances) != item_shape[-1]:
        msg = (
            f"input.channel_variances lists {len(variances)} numbers for items of "
            f"{item_shape[-1]} channels"
        )
        raise ShapeError(msg, errors=[{"loc": "input.channel_variances", "message": msg}])
    shapes = [LayerShape("input", positions)]
    for index, layer in enumerate(spec.layers):
        positions = positions_of(layer, positions, f"layers[{index}]")
        shapes.append(LayerShape(layer.type, positions))
    _require_number(positions, "layers", len(spec.layers))
    for number, readout in enumerate(spec.readouts):
        state, where = shapes[readout.after].positions, f"readouts[{number}].layers"
        for index, layer in enumerate(readout.layers):
            state = positions_of(layer, state, f"{where}[{index}]")
        _require_number(state, where, len(readout.layers))
    return tuple(shapes)
