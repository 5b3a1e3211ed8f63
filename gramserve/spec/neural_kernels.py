"""A kernel spec from a configuration of neural_kernels_code, the program of Shankar et al.

References
----------
Shankar et al., "Neural Kernels Without Tangents", ICML 2020, and its program,
https://github.com/modestyachts/neural_kernels_code.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from gramserve.errors import SpecError, UnknownLayerError
from gramserve.spec.faults import spec_error, summary
from gramserve.spec.names import nearest
from gramserve.spec.network import KernelSpec, parse_kernel
from gramserve.spec.numbers import Real, Whole, non_empty
from gramserve.spec.shortcuts import find_crossing, nest

_WHAT = "neural_kernels_code configuration"
_SAME = {"type": "conv", "size": 3}
_RELU = {"type": "relu", "normalized": True}

_FIRST: dict[str, list[dict[str, Any]]] = {
    "input": [],
    "conv3": [{**_SAME, "padding": "valid"}],
    "conv3zp": [_SAME],
    "conv3zp_all_chan": [_SAME],
    "conv3zpinorm": [_SAME, {"type": "center"}],
}
"""What a network may begin with."""

_POOLS = {f"pool{window}": window for window in (2, 4, 7, 8, 30, 32)}
_GROUPS = {f"group_norm_{side}": side for side in (4, 8, 16, 32)}
_EXPONENTIALS = ("exponential_shifted", "exponential_shifted_project")

_LATER: dict[str, list[dict[str, Any]]] = {
    **{name: _FIRST[name] for name in ("conv3", "conv3zp", "conv3zpinorm")},
    **{name: [{"type": "avg_pool", "window": window}] for name, window in _POOLS.items()},
    **{name: [{"type": "layer_norm", "axes": "all", "eps": 0}] for name in _GROUPS},
    "relu": [_RELU],
    "relu_project": [{**_RELU, "project": True}],
    "quadratic": [{"type": "power", "degree": 2}],
    "quadratic_project": [{"type": "power", "degree": 2, "project": True}],
    "quartic": [{"type": "power", "degree": 4}],
    "quartic_project": [{"type": "power", "degree": 4, "project": True}],
    "exponential": [{"type": "exp_normalized", "shift": 0, "project": True}],
    "exponential_shifted": [{"type": "exp_normalized"}],
    "exponential_shifted_project": [{"type": "exp_normalized", "project": True}],
}
"""What may follow."""

_ON_NUMBERS = {"conv3zp": [{"type": "dense", "w_std": 1 / 3}]}
"""Of one position, eight of the nine taps see zeros."""

_NOT_ON_NUMBERS = ("conv3", "conv3zpinorm")


class GivenLayer(BaseModel):
    """One entry of ``KERNEL.ARCH``."""

    model_config = ConfigDict(extra="forbid")

    layer: str
    gamma: Real = 1.0
    """Of the shifted exponentials."""
    residual: Whole | None = None
    """Number of the layer whose output is added to this layer's input."""
    store_norm: bool = True
    """What the program keeps in memory; means nothing here."""
    precision: Literal["float32", "float64"] | None = None
    """Belongs to a matrix here, not to a layer."""


class Architecture(BaseModel):
    """The part of a configuration that says which kernel is meant."""

    model_config = ConfigDict(extra="forbid")

    ARCH: Annotated[tuple[GivenLayer, ...], BeforeValidator(non_empty)]


def read_neural_kernels_config(config: Mapping[str, Any] | Sequence[Any]) -> KernelSpec:
    """Read the network of a configuration of neural_kernels_code.

    The program computes NNGP kernels; values agree without any factor. It wants one position at
    the end, so the last pool is read as ``global_avg_pool``: the spec computes the same on
    images of the size for which the configuration was written. Keys outside ``KERNEL`` and those
    about memory (``store_norm``) and arithmetic (``precision``) are not part of a kernel.

    Parameters
    ----------
    config : mapping or sequence of mapping
        A configuration as ``yaml.safe_load`` returns it, its ``KERNEL`` part, or the list of
        layers, ``KERNEL.ARCH``.

    Returns
    -------
    KernelSpec
        Of plain layers, with ``kernel`` "nngp".

    Raises
    ------
    UnknownLayerError
        For a layer that the program does not have, or not in this place.
    SpecError
        With every fault, each with its layer and key (``ARCH[3].gamma``): wrong keys, shortcuts
        that cross, sizes that cannot be.

    Examples
    --------
    >>> arch = [{"layer": "conv3zp"}, {"layer": "relu"}, {"layer": "pool32"}]
    >>> [layer.type for layer in read_neural_kernels_config({"KERNEL": {"ARCH": arch}}).layers]
    ['conv', 'relu', 'global_avg_pool']
    """
    given = _read_architecture(config)
    unknown, faults = _find_unknown(given), _find_wrong_keys(given)
    if not unknown:
        faults += _find_wrong_sizes(given)
        faults += _find_wrong_shortcuts(given)
    if unknown or faults:
        both = sorted(unknown + faults, key=lambda fault: _index_of(fault["loc"]))
        raise (UnknownLayerError if unknown else SpecError)(summary(both, _WHAT), errors=both)
    last = _last_pool(given)
    pieces = [_expand(layer, index, last) for index, layer in enumerate(given)]
    channels = "all" if given[0].layer == "conv3zp_all_chan" else "sum"
    return parse_kernel(
        {"input": {"channels": channels}, "layers": nest(pieces, _shortcuts(given))}
    )


def _fault(loc: str, message: str) -> dict[str, str]:
    return {"loc": loc, "message": message}


def _refuse(loc: str, message: str) -> SpecError:
    faults = [_fault(loc, message)]
    return SpecError(summary(faults, _WHAT), errors=faults)


def _index_of(loc: str) -> int:
    number = loc.partition("[")[2].partition("]")[0]
    return int(number) if number else -1


def _read_architecture(config: Any) -> tuple[GivenLayer, ...]:
    if isinstance(config, str | bytes):
        msg = "is text; parse it first, for example yaml.safe_load(text)"
        raise _refuse("", msg)
    kernel = config
    if isinstance(config, Mapping):
        kernel = config.get("KERNEL", config)
        if not isinstance(kernel, Mapping) or "ARCH" not in kernel:
            raise _refuse("KERNEL", "has no ARCH, the list of layers")
        features = kernel.get("COATESNG")
        if isinstance(features, Mapping) and features.get("ON"):
            msg = "is on: random features are no kernel; compute them and give them as items"
            raise _refuse("KERNEL.COATESNG", msg)
    else:
        kernel = {"ARCH": config}
    entries = kernel["ARCH"]
    if isinstance(entries, str | Mapping) or not isinstance(entries, Sequence):
        msg = f'must be a list of layers such as {{"layer": "relu"}}, got {entries!r:.80}'
        raise _refuse("ARCH", msg)
    defaults = _read_defaults(kernel.get("ARCH_DEFAULTS", ()))
    entries = [
        {**defaults.get(str(entry.get("layer")), {}), **entry}
        if isinstance(entry, Mapping)
        else entry
        for entry in entries
    ]
    try:
        return Architecture.model_validate({"ARCH": entries}).ARCH
    except ValidationError as error:
        raise spec_error(error, Architecture, _WHAT) from None


def _read_defaults(given: Any) -> dict[str, Mapping[str, Any]]:
    try:
        defaults = dict(given)
    except (TypeError, ValueError):
        defaults = {"": None}
    if not all(isinstance(keys, Mapping) for keys in defaults.values()):
        msg = f"must be pairs of a layer's name and its keys, got {given!r:.80}"
        raise _refuse("ARCH_DEFAULTS", msg)
    return defaults


def _find_unknown(given: Sequence[GivenLayer]) -> list[dict[str, str]]:
    found = []
    for index, layer in enumerate(given):
        known, where = (_LATER, "after the first layer") if index else (_FIRST, "to begin with")
        if layer.layer not in known:
            message = f"there is no {layer.layer!r} {where}{nearest(layer.layer, known)}"
            found.append(_fault(f"ARCH[{index}].layer", message))
    return found


def _find_wrong_keys(given: Sequence[GivenLayer]) -> list[dict[str, str]]:
    found = []
    for index, layer in enumerate(given):
        if "gamma" in layer.model_fields_set and layer.layer not in _EXPONENTIALS:
            message = f"{layer.layer} has none; only {' and '.join(_EXPONENTIALS)} do"
            found.append(_fault(f"ARCH[{index}].gamma", message))
        if layer.residual is not None and not 0 <= layer.residual < index - 1:
            message = (
                "must be the number of a layer at least two before this one, counted from 0, "
                f"got {layer.residual} at layer {index}"
            )
            found.append(_fault(f"ARCH[{index}].residual", message))
    return found


def _last_pool(given: Sequence[GivenLayer]) -> int | None:
    pools = [index for index, layer in enumerate(given) if layer.layer in _POOLS]
    return pools[-1] if pools else None


def _positions(given: Sequence[GivenLayer], last: int) -> list[int]:
    """Return the positions along an axis at the input of every layer, and at the end."""
    positions = [1] * (len(given) + 1)
    for index in range(last, -1, -1):
        name, after = given[index].layer, positions[index + 1]
        positions[index] = _POOLS.get(name, 1) * after + (2 if name == "conv3" else 0)
    return positions


def _find_wrong_sizes(given: Sequence[GivenLayer]) -> list[dict[str, str]]:
    last = _last_pool(given)
    if last is None:
        return [_fault("ARCH", "has no pool, so that more than one position is left at the end")]
    found, positions = [], _positions(given, last)
    for index, layer in enumerate(given):
        side = _GROUPS.get(layer.layer, positions[index])
        if side != positions[index]:
            message = (
                f"{layer.layer} is over {side} x {side} positions, but the pools behind it leave "
                f"{positions[index]} x {positions[index]} here"
            )
            found.append(_fault(f"ARCH[{index}].layer", message))
        if index > last and layer.layer in _NOT_ON_NUMBERS:
            message = f"{layer.layer} stands behind the last pool, where one position is left"
            found.append(_fault(f"ARCH[{index}].layer", message))
    return found


def _shortcuts(given: Sequence[GivenLayer]) -> list[tuple[int, int]]:
    """Return the range of layers that every shortcut passes by."""
    return [
        (layer.residual + 1, index)
        for index, layer in enumerate(given)
        if layer.residual is not None
    ]


def _find_wrong_shortcuts(given: Sequence[GivenLayer]) -> list[dict[str, str]]:
    found = []
    last = _last_pool(given)
    positions = _positions(given, last) if last is not None else [1] * (len(given) + 1)
    shortcuts = [(start, stop) for start, stop in _shortcuts(given) if 0 < start < stop]
    for start, stop in shortcuts:
        if positions[start] != positions[stop]:
            message = (
                f"adds {positions[start]} x {positions[start]} positions, of layer {start - 1}, to "
                f"{positions[stop]} x {positions[stop]}"
            )
            found.append(_fault(f"ARCH[{stop}].residual", message))
    crossing = find_crossing(shortcuts)
    if crossing is not None:
        first, second = crossing
        message = (
            f"begins inside the shortcut of layer {first[1]} and ends behind it; branches of a "
            "spec must lie inside or behind one another"
        )
        found.append(_fault(f"ARCH[{second[1]}].residual", message))
    return found


def _expand(layer: GivenLayer, index: int, last: int | None) -> list[dict[str, Any]]:
    if index == last:
        return [{"type": "global_avg_pool"}]
    if last is not None and index > last and layer.layer in _ON_NUMBERS:
        return _ON_NUMBERS[layer.layer]
    plain = (_LATER if index else _FIRST)[layer.layer]
    if layer.layer in _EXPONENTIALS:
        return [{**plain[0], "gamma": layer.gamma}]
    return plain
