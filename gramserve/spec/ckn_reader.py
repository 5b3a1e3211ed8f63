"""A kernel spec from the list of layers that is given to ckn_kernel.

References
----------
Bietti, ckn_kernel, https://github.com/albietz/ckn_kernel.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from gramserve.errors import SpecError
from gramserve.spec.ckn import CknLayer, PatchKernel, expand_ckn
from gramserve.spec.faults import spec_error
from gramserve.spec.network import KernelSpec, parse_kernel
from gramserve.spec.numbers import Positive, non_empty


class GivenLayer(CknLayer):
    """A layer with the defaults of the program, which are not those of the preset."""

    sigma: Positive = 1.0
    kernel: PatchKernel = "exp"


class GivenTangentLayer(GivenLayer):
    """The same when the tangent kernel is asked for."""

    kernel: PatchKernel = "relu"


class _Network(BaseModel):
    model_config = ConfigDict(extra="forbid")

    layers: Annotated[tuple[GivenLayer, ...], BeforeValidator(non_empty)]


class _TangentNetwork(BaseModel):
    model_config = ConfigDict(extra="forbid")

    layers: Annotated[tuple[GivenTangentLayer, ...], BeforeValidator(non_empty)]


def read_ckn_layers(layers: Sequence[Mapping[str, Any]], ntk: bool = False) -> KernelSpec:
    """Read the network that ``ckn_kernel.compute_kernel_matrix(x, model=layers, ntk=ntk)`` has.

    Values agree without any factor. Defaults are those of that program: ``poolfactor`` is the
    ``subsampling``, ``sigma`` 1, ``pooling`` gaussian, and ``kernel`` exp, or relu with ``ntk``.
    ``sigma`` counts for the kernels exp (``gamma = 1 / sigma^2``) and linear (its factor). The
    program has tangent kernels for relu only; here every kernel has one.

    Parameters
    ----------
    layers : sequence of mapping
        One ``{"npatch", "subsampling", "poolfactor", "kernel", "sigma", "pooling"}`` each; the
        first two are required. Sizes are positions.
    ntk : bool, default False
        The neural tangent kernel instead of the NNGP kernel.

    Returns
    -------
    KernelSpec
        Of plain layers, with ``kernel`` "nngp" or "ntk".

    Raises
    ------
    SpecError
        With every fault, each with its layer and key (``layers[1].sigma``). Keys that the program
        would not look at are faults.

    References
    ----------
    Bietti and Mairal, "On the Inductive Bias of Neural Tangent Kernels", NeurIPS 2019.

    Examples
    --------
    >>> spec = read_ckn_layers([{"npatch": 3, "subsampling": 2, "sigma": 0.5}])
    >>> [layer.type for layer in spec.layers]
    ['conv', 'exp_normalized', 'ckn_pool', 'flatten']
    >>> spec.layers[1].gamma
    4.0
    """
    if isinstance(layers, str | Mapping) or not isinstance(layers, Sequence):
        msg = (
            "ckn_kernel layers: must be a list of dictionaries, such as "
            f'[{{"npatch": 3, "subsampling": 2}}], got {type(layers).__name__}'
        )
        raise SpecError(msg, errors=[{"loc": "layers", "message": msg}])
    model = _TangentNetwork if ntk else _Network
    try:
        network = model.model_validate({"layers": list(layers)})
    except ValidationError as error:
        raise spec_error(error, model, "ckn_kernel layers") from None
    return parse_kernel(
        {"layers": expand_ckn(network.layers, ntk=ntk), "kernel": "ntk" if ntk else "nngp"}
    )
