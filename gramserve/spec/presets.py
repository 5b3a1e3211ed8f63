"""Named kernels, expanded to plain layers; the expansion is what is hashed.

References
----------
Shankar et al., "Neural Kernels Without Tangents", ICML 2020 (Myrtle5, 7, 10).
Arora et al., "On Exact Computation with an Infinitely Wide Neural Net", NeurIPS 2019 (CNTK).
Li et al., "Enhanced Convolutional Neural Tangent Kernels", 2019 (local average pooling).
Bietti, "Approximation and Learning with Deep Convolutional Models", 2021 (CKN).
Lee et al., "Finite Versus Infinite Neural Networks", NeurIPS 2020 (fully connected).
"""

import functools
from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from gramserve.errors import UnknownLayerError
from gramserve.spec.ckn import CknLayer, expand_ckn
from gramserve.spec.faults import spec_error
from gramserve.spec.names import nearest
from gramserve.spec.numbers import Count, NonNegative, Order, non_empty

JsonLayer = dict[str, Any]


class PresetOptions(BaseModel):
    """Options that every preset takes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: str
    kernel: Any = None
    """Replaces the preset's own choice of kernel; checked with the expanded spec."""
    input: Any = None
    """Replaces ``{"channels": "sum"}``; checked with the expanded spec."""
    augment: Any = None
    """As in a spec; checked with it."""
    finite: Any = None
    """Networks of finite width in place of the limit; checked with the expanded spec."""


class MyrtleOptions(PresetOptions):
    """Options of the Myrtle networks."""

    head: bool = True
    """Whether the projected activation follows the global pool."""


class CntkOptions(PresetOptions):
    """Options of the convolutional neural tangent kernel."""

    depth: Annotated[Count, Field(ge=2, le=1000)] = 11
    """Number of convolutions, plus one."""
    gap: bool = True
    """Global average pooling; otherwise flatten."""
    lap: Order = 0
    """Local average pooling of this reach, windows of ``2 lap + 1``, in place of the global."""
    fix: bool = False
    """Whether the first and the last layer are kept fixed (do not train)."""
    readouts: bool = False
    """Whether the kernels of all smaller depths come along, ``depth2``, ``depth3`` and so on."""


class CknOptions(PresetOptions):
    """Options of convolutional kernel networks."""

    layers: Annotated[tuple[CknLayer, ...], BeforeValidator(non_empty)]
    ntk: bool = False
    """The neural tangent kernel of the network instead of its NNGP kernel."""


def _activation(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


class FcOptions(PresetOptions):
    """Options of fully connected networks."""

    depth: Annotated[Count, Field(le=1000)] = 3
    """Number of hidden layers."""
    activation: Annotated[dict[str, Any], BeforeValidator(_activation)] = Field(
        default_factory=lambda: {"type": "relu"}
    )
    """An activation by name, or as a layer with its options."""
    w_std: NonNegative = sqrt(2)
    b_std: NonNegative = 0.0
    last_w_std: NonNegative = 1.0
    readouts: bool = False
    """Whether the kernels of all smaller depths come along, ``depth1``, ``depth2`` and so on."""


_CONV: JsonLayer = {"type": "conv", "size": 3}
_POOL: JsonLayer = {"type": "avg_pool", "window": 2}
_MYRTLE = {
    5: ("cr", "crp", "crp", "cr"),
    7: ("crcrp",) * 2 + ("crcr",),
    10: ("crcrcrp",) * 2 + ("crcrcr",),
}


def _myrtle(
    options: MyrtleOptions, depth: int, activation: JsonLayer
) -> tuple[list[JsonLayer], str]:
    letters = {"c": _CONV, "r": activation, "p": _POOL}
    layers = [dict(letters[letter]) for letter in "".join(_MYRTLE[depth])]
    layers.append({"type": "global_avg_pool"})
    if options.head:
        layers.append({**activation, "project": True})
    return layers, "nngp"


def _cntk(options: CntkOptions) -> tuple[list[JsonLayer], str]:
    layers: list[JsonLayer] = []
    for index in range(options.depth - 1):
        layers.append({**_CONV, "trainable": not (options.fix and index == 0)})
        layers.append({"type": "relu", "normalized": True})
    if options.lap:
        window = 2 * options.lap + 1
        layers.append({"type": "avg_pool", "window": window, "strides": 1, "padding": "same"})
    pooled = options.gap and not options.lap
    layers.append({"type": "global_avg_pool"} if pooled else {"type": "flatten", "average": False})
    layers.append({"type": "dense", "trainable": not options.fix})
    return layers, "ntk"


def _ckn(options: CknOptions) -> tuple[list[JsonLayer], str]:
    return expand_ckn(options.layers, ntk=options.ntk), "ntk" if options.ntk else "nngp"


def _fc(options: FcOptions) -> tuple[list[JsonLayer], str]:
    dense = {"type": "dense", "w_std": options.w_std, "b_std": options.b_std}
    hidden = [dict(layer) for _ in range(options.depth) for layer in (dense, options.activation)]
    last = {"type": "dense", "w_std": options.last_w_std, "b_std": options.b_std}
    return [*hidden, last], "nngp"


_RELU: JsonLayer = {"type": "relu", "normalized": True}
_EXP: JsonLayer = {"type": "exp_normalized", "gamma": 1.0}

PRESETS: dict[str, tuple[type[PresetOptions], Any]] = {
    **{
        f"myrtle{depth}{suffix}": (
            MyrtleOptions,
            functools.partial(_myrtle, depth=depth, activation=activation),
        )
        for depth in _MYRTLE
        for suffix, activation in (("", _RELU), ("_exp", _EXP))
    },
    "cntk": (CntkOptions, _cntk),
    "ckn": (CknOptions, _ckn),
    "fc": (FcOptions, _fc),
}
"""Options model and expansion of every preset, by name."""


def expand_preset(preset: Mapping[str, Any]) -> dict[str, Any]:
    """Expand ``{"preset": name, ...options}`` to a full kernel spec.

    Parameters
    ----------
    preset : mapping
        The name and the options of the preset.

    Returns
    -------
    dict
        A kernel spec of plain layers, not yet validated as one.

    Raises
    ------
    UnknownLayerError
        When there is no such preset; names the nearest.
    SpecError
        When options are unknown or wrong; lists all of them.
    """
    name = preset["preset"]
    if not isinstance(name, str) or name not in PRESETS:
        message = f"unknown preset {name!r}{nearest(name, PRESETS)}"
        raise UnknownLayerError(
            f"kernel spec: {message}", errors=[{"loc": "preset", "message": message}]
        )
    model, expand = PRESETS[name]
    try:
        options = model.model_validate(dict(preset))
    except ValidationError as error:
        raise spec_error(error, model, f"preset {name}") from None
    layers, kernel = expand(options)
    spec: dict[str, Any] = {"layers": layers, "kernel": kernel}
    for key in ("kernel", "input", "augment", "finite"):
        if getattr(options, key) is not None:
            spec[key] = getattr(options, key)
    if isinstance(options, CntkOptions | FcOptions) and options.readouts:
        spec["readouts"] = _smaller_depths(options, layers)
    return spec


def _smaller_depths(
    options: CntkOptions | FcOptions, layers: Sequence[JsonLayer]
) -> list[dict[str, Any]]:
    """Return readouts that are the preset at every smaller depth: pairs of layers, then a head."""
    # The depth of a CNTK counts its dense layer.
    above = 1 if isinstance(options, CntkOptions) else 0
    head = list(layers[2 * (options.depth - above) :])
    return [
        {"name": f"depth{pairs + above}", "after": 2 * pairs, "layers": head}
        for pairs in range(1, options.depth - above)
    ]


def describe_presets() -> Sequence[dict[str, Any]]:
    """Return name and option names with defaults of every preset, for help texts."""
    return [
        {
            "preset": name,
            "options": {
                key: None if field.is_required() else field.get_default(call_default_factory=True)
                for key, field in model.model_fields.items()
                if key != "preset"
            },
        }
        for name, (model, _) in PRESETS.items()
    ]
