"""The kernel spec: input, layers, and which kernels of the network are asked for."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from gramserve.errors import SpecError
from gramserve.spec.canonical import digest_of
from gramserve.spec.faults import spec_error
from gramserve.spec.finite import FiniteSpec, finite_faults
from gramserve.spec.layers import CknPool, Concat, Conv, ConvLocal, Layer, LayerModel, Residual
from gramserve.spec.numbers import NonNegative, Weights, Whole
from gramserve.spec.presets import expand_preset

FORMAT = "gramserve.kernel/1"
"""The version of the kernel-spec language that this package reads and writes."""

KernelName = Literal["nngp", "ntk"]
"""The two kernels of a network."""

OutputName = str
"""A Gram matrix of a job: "nngp" or "ntk", of a readout with its name and a point before."""

Augmentation = Literal["none", "flips", "vertical_flips", "rotations", "dihedral"]
"""Groups of transformations of images that a kernel is averaged over."""

Precision = Literal["float32", "mixed", "float64"]
"""How the numbers are computed and stored."""

_ORDER: tuple[KernelName, ...] = get_args(KernelName)
_ADDED: dict[str, Any] = {"augment": "none", "readouts": [], "finite": None}
"""Fields of later versions with their defaults: without them a spec keeps the digest it had."""

_ADDED_TO_INPUT: dict[str, Any] = {"channel_variances": 1.0, "bias_variance": 0.0}
"""Likewise of the input."""

_PER_AXIS_FIELDS = ("size", "strides", "dilation", "fill", "window")


def _kernel_names(value: Any) -> Any:
    """Bring a list of kernels into one order; a list of one is that one."""
    if not isinstance(value, list | tuple):
        value = (value,)
    unknown = [name for name in value if name not in _ORDER]
    if unknown or not value:
        msg = f'must be "nngp", "ntk" or a list of both, got {unknown[0] if unknown else []!r}'
        raise ValueError(msg)
    if len(set(value)) != len(value):
        msg = f"names a kernel twice: {list(value)}"
        raise ValueError(msg)
    ordered = tuple(name for name in _ORDER if name in value)
    return ordered[0] if len(ordered) == 1 else ordered


class InputSpec(BaseModel):
    """How items become the first covariance."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: Literal["sum", "mean", "all"] = "sum"
    """``S0 = sum_c x_c x'_c``, that over the number of channels, or ``sum_cd x_c x'_d``."""
    channel_variances: Weights = 1.0
    """Variance of the weight on each channel, ``v_c x_c x'_c`` in the sums: one, or a list."""
    bias_variance: NonNegative = 0.0
    """Added to ``S0``: the variance of the weight on an input that is always 1."""
    layout: Literal["auto", "sequence"] = "auto"
    """"auto": (H, W, C) images and (D,) vectors. "sequence": (L, C)."""

    @model_validator(mode="after")
    def _one_weight_for_all_pairs(self) -> Self:
        if self.channels == "all" and isinstance(self.channel_variances, tuple):
            msg = 'channels "all" sums the channels first: channel_variances must be one number'
            raise ValueError(msg)
        return self


class Readout(BaseModel):
    """A further kernel of the network: its first layers, and others that end them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
    """What its Gram matrices are called: ``name.nngp``, ``name.ntk``."""
    after: Annotated[Whole, Field(ge=0)]
    """How many layers of the network it shares."""
    layers: tuple[Layer, ...] = ()
    """The layers behind them, which end with one number per pair."""


class KernelSpec(BaseModel):
    """A kernel: the network that defines it and which of its kernels is asked for.

    Instances are frozen, hashable and normalised: every per-axis field is a tuple with one
    entry per spatial axis, and defaults that depend on other fields are filled in, so equal
    kernels are equal objects with equal digests.

    Examples
    --------
    >>> from gramserve.spec import layers
    >>> spec = KernelSpec(layers=[layers.Dense(), layers.Relu(), layers.Dense()], kernel="ntk")
    >>> spec.kernels
    ('ntk',)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["gramserve.kernel/1"] = "gramserve.kernel/1"
    input: InputSpec = InputSpec()
    layers: tuple[Layer, ...]
    augment: Augmentation = "none"
    """Average ``k(g x, g' x')`` over all transformations ``g`` and ``g'`` of a group."""
    readouts: tuple[Readout, ...] = ()
    """Further kernels that share layers with this one and are computed in the same pass."""
    kernel: Annotated[
        KernelName | tuple[KernelName, KernelName],
        Field(union_mode="left_to_right"),
        BeforeValidator(_kernel_names),
    ] = "nngp"
    finite: FiniteSpec | None = None
    """Networks of finite width in place of the limit: empirical kernels, averaged."""

    @model_validator(mode="after")
    def _normalise(self) -> Self:
        axes = 1 if self.input.layout == "sequence" else 2
        faults: list[str] = []
        layers = _normalise_branch(self.layers, axes, "layers", faults)
        if self.finite is not None:
            faults += finite_faults(layers)
        readouts = self._normalise_readouts(axes, faults)
        if faults:
            raise ValueError("\n".join(faults))
        # The model is frozen for everybody else; this is still its construction.
        object.__setattr__(self, "layers", layers)
        object.__setattr__(self, "readouts", readouts)
        return self

    def _normalise_readouts(self, axes: int, faults: list[str]) -> tuple[Readout, ...]:
        found = []
        names = [readout.name for readout in self.readouts]
        for index, readout in enumerate(self.readouts):
            where = f"readouts[{index}]"
            if readout.name in names[:index] or readout.name in _ORDER:
                faults.append(f"{where}.name: {readout.name!r} is taken; each needs its own")
            if readout.after > len(self.layers):
                faults.append(
                    f"{where}.after: {readout.after} layers of a network of {len(self.layers)}"
                )
            layers = _normalise_branch(readout.layers, axes, f"{where}.layers", faults)
            found.append(readout.model_copy(update={"layers": layers}))
        own = _normalise_branch(self.layers, axes, "layers", [])
        networks = [own] + [own[: readout.after] + readout.layers for readout in found]
        for index, network in enumerate(networks[1:], 1):
            if network in networks[:index]:
                faults.append(f"readouts[{index - 1}]: is the same kernel as one before it")
        return tuple(found)

    @property
    def axes(self) -> int:
        """Spatial axes of images (2) or sequences (1)."""
        return 1 if self.input.layout == "sequence" else 2

    @property
    def kernels(self) -> tuple[KernelName, ...]:
        """The kernels asked for, NNGP first."""
        return (self.kernel,) if isinstance(self.kernel, str) else self.kernel

    @property
    def outputs(self) -> tuple[OutputName, ...]:
        """The Gram matrices asked for: the network's kernels, then those of its readouts."""
        further = (
            f"{readout.name}.{kernel}" for readout in self.readouts for kernel in self.kernels
        )
        return (*self.kernels, *further)

    def for_output(self, name: OutputName) -> Self:
        """Return the spec of one Gram matrix by itself: what addresses its blocks.

        Parameters
        ----------
        name : str
            One of :attr:`outputs`.

        Returns
        -------
        KernelSpec
            A spec of one kernel without readouts, equal to one written out.

        Raises
        ------
        KeyError
            When there is no such output.
        """
        readout, _, kernel = name.rpartition(".")
        layers = self.layers
        if readout:
            ends = {found.name: found for found in self.readouts}
            layers = (*layers[: ends[readout].after], *ends[readout].layers)
        if kernel not in self.kernels:
            raise KeyError(name)
        return self.model_copy(update={"kernel": kernel, "layers": layers, "readouts": ()})

    def canonical(self) -> dict[str, Any]:
        """Return the spec as a JSON value with all defaults filled in.

        Only fields that the first version did not have are left out at their defaults.
        """
        found = self.model_dump(mode="json")
        for part, added in ((found, _ADDED), (found["input"], _ADDED_TO_INPUT)):
            for name, default in added.items():
                if name in part and part[name] == default:
                    del part[name]
        return found

    def digest(self) -> str:
        """Return the SHA-256 of the canonical JSON, 64 hexadecimal digits."""
        return digest_of(self.canonical())

    def network_digest(self) -> str:
        """Return the digest of input and layers alone, whichever kernel is asked for."""
        network = self.canonical()
        del network["kernel"]
        return digest_of(network)


def _normalise_branch(
    layers: tuple[Layer, ...], axes: int, where: str, faults: list[str]
) -> tuple[Layer, ...]:
    return tuple(
        _normalise_layer(layer, axes, f"{where}[{index}]", faults)
        for index, layer in enumerate(layers)
    )


def _normalise_layer(layer: Layer, axes: int, where: str, faults: list[str]) -> Layer:
    if isinstance(layer, Residual | Concat):
        branches = tuple(
            _normalise_branch(branch, axes, f"{where}.branches[{index}]", faults)
            for index, branch in enumerate(layer.branches)
        )
        return layer.model_copy(update={"branches": branches})
    update: dict[str, Any] = {}
    if isinstance(layer, CknPool):
        return layer.model_copy(update={"factor": layer.factor or layer.subsampling})
    for name in _PER_AXIS_FIELDS:
        if name in type(layer).model_fields:
            update[name] = _spread(layer, name, axes, where, faults)
    if isinstance(layer, Conv | ConvLocal):
        if not isinstance(layer.padding, str) and len(layer.padding) != axes:
            faults.append(f"{where}.padding: {len(layer.padding)} pairs for {axes} spatial axes")
        if layer.padding == "circular" and set(update["fill"]) != {1}:
            faults.append(f'{where}.fill: padding "circular" needs fill 1, got {layer.fill}')
    return layer.model_copy(update=update) if update else layer


def _spread(
    layer: LayerModel, name: str, axes: int, where: str, faults: list[str]
) -> tuple[int, ...] | None:
    value = getattr(layer, name)
    if value is None:  # strides of a pool: the window
        value = layer.window  # type: ignore[attr-defined]
    if isinstance(value, int):
        return (value,) * axes
    if len(value) != axes and name in layer.model_fields_set:
        faults.append(f"{where}.{name}: {len(value)} numbers for {axes} spatial axes")
    return tuple(value)


def parse_kernel(kernel: str | Mapping[str, Any] | KernelSpec) -> KernelSpec:
    """Read a kernel from a preset's name, a preset with options, or a full spec.

    Parameters
    ----------
    kernel : str, mapping or KernelSpec
        ``"myrtle5"``, ``{"preset": "cntk", "depth": 5}``, ``{"layers": [...], ...}``.

    Returns
    -------
    KernelSpec
        The normalised spec; presets are expanded to plain layers.

    Raises
    ------
    SpecError
        With every fault found and the nearest known name for each unknown one.
    UnknownLayerError
        When a layer type or preset does not exist.

    Examples
    --------
    >>> [layer.type for layer in parse_kernel({"preset": "fc", "depth": 1}).layers]
    ['dense', 'relu', 'dense']
    """
    if isinstance(kernel, KernelSpec):
        return kernel
    if isinstance(kernel, str):
        kernel = {"preset": kernel}
    if not isinstance(kernel, Mapping):
        msg = (
            "kernel spec: must be the name of a preset, a mapping or a KernelSpec, "
            f"got {type(kernel).__name__}"
        )
        raise SpecError(msg, errors=[{"loc": "", "message": msg}])
    if "preset" in kernel:
        kernel = expand_preset(kernel)
    try:
        return KernelSpec.model_validate(dict(kernel))
    except ValidationError as error:
        raise spec_error(error, KernelSpec, "kernel spec") from None
