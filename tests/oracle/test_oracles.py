"""Reference Gram matrices made with two public programs, at the tolerances of their index.

``tests/data/oracles/index.json`` names maker, spec and relative tolerance (largest absolute
difference over largest absolute value) of each, separately for the diagonal of the symmetric
matrices, where the makers themselves round badly.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from gramserve.compute import compute_gram
from gramserve.kernels import ENGINES, ReferenceEngine
from gramserve.spec import KernelSpec, layers, parse_kernel

# Two oracles have numeric activations of degree 50, too few nodes for their variances.
pytestmark = pytest.mark.filterwarnings("ignore::gramserve.errors.QuadratureWarning")

ORACLES = Path(__file__).parents[1] / "data" / "oracles"
INDEX = json.loads((ORACLES / "index.json").read_text())


def load(name):
    with np.load(ORACLES / f"{name}.npz") as arrays:
        return dict(arrays)


def by_kernel(spec: KernelSpec, gram):
    return gram if len(spec.kernels) > 1 else {spec.kernels[0]: gram}


def relative(found, wanted, where=...):
    return np.abs(found - wanted)[where].max(initial=0) / np.abs(wanted).max()


def test_there_are_81_oracles_and_the_reference_engine_runs_them_all():
    assert len(INDEX) == 81
    engine = ReferenceEngine()
    assert not any(
        engine.refusal(parse_kernel(entry["spec"]), "float64") for entry in INDEX.values()
    )


def test_the_fast_engine_runs_most_oracles_with_rectifiers():
    fast = [name for name, entry in INDEX.items() if is_fast(parse_kernel(entry["spec"]))]
    assert len(fast) >= 20


def is_fast(spec):
    return ENGINES["cpu"].refusal(spec, "float64") is None


@pytest.mark.parametrize("engine", ["reference", "auto"])
@pytest.mark.parametrize("name", sorted(INDEX))
def test_float64_agrees_with_the_oracle(name, engine):
    entry, arrays = INDEX[name], load(name)
    spec = parse_kernel(entry["spec"])
    x, x2 = arrays["x"], arrays["x2"]
    how = {"kernel": spec, "precision": "float64", "engine": engine}
    symmetric = by_kernel(spec, compute_gram(x, **how))
    cross = by_kernel(spec, compute_gram(arrays.get("x1", x), x2, **how))
    for kernel in spec.kernels:
        tolerance = entry["relative_tolerance"][kernel]
        wanted = arrays[f"{kernel}_sym"]
        off = ~np.eye(len(wanted), dtype=bool)
        assert relative(symmetric[kernel], wanted, off) <= tolerance
        assert relative(symmetric[kernel], wanted, ~off) <= entry["diagonal_tolerance"][kernel]
        assert relative(cross[kernel], arrays[f"{kernel}_cross"]) <= tolerance


@pytest.mark.parametrize("engine", ["reference", "auto"])
@pytest.mark.parametrize("precision", ["float32", "mixed"])
@pytest.mark.parametrize("name", sorted(INDEX))
def test_single_precisions_agree_with_float64(name, precision, engine):
    """NNGP 2e-6; NTK 5e-6 (mixed 2e-6) away from angles 0 and pi, 5e-4 at them (mixed 1e-5)."""
    spec = parse_kernel(INDEX[name]["spec"])
    x = load(name)["x"]
    how = {"kernel": spec, "precision": "float64", "engine": "reference"}
    exact = by_kernel(spec, compute_gram(x, **how))
    found = by_kernel(spec, compute_gram(x, **how | {"precision": precision, "engine": engine}))
    assert all(gram.dtype == np.float32 for gram in found.values())
    if "nngp" in found:
        assert relative(found["nngp"], exact["nngp"]) <= 2e-6
    if "ntk" in found:
        # The "edge" oracles hold duplicate, opposite and scaled items: angles 0 and pi.
        limits = (
            {"float32": 5e-4, "mixed": 1e-5} if "edge" in name else {"float32": 5e-6, "mixed": 2e-6}
        )
        assert relative(found["ntk"], exact["ntk"]) <= limits[precision]


RELU_NET = [{"type": "conv", "size": 3}, {"type": "relu", "normalized": True}]
NT_NET = [{"type": "conv", "size": 3, "w_std": 2**0.5}, {"type": "relu"}]


def conventions(network, **changes):
    return {"kernel": ["nngp", "ntk"], "layers": network, **changes}


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("pooled", [True, False])
def test_cntk_is_neural_tangents_times_half_the_channels(depth, pooled):
    """CNTK with pooling = C/2 NT, without = C/2 P NT: the conventions differ by constants only."""
    x = np.random.default_rng(0).normal(size=(4, 6, 5, 3))
    cntk = compute_gram(
        x, kernel={"preset": "cntk", "depth": depth + 1, "gap": pooled}, precision="float64"
    )
    end = {"type": "global_avg_pool"} if pooled else {"type": "flatten"}
    network = [*NT_NET * depth, end, {"type": "dense", "w_std": 2**0.5}]
    tangents = compute_gram(
        x, kernel=conventions(network, input={"channels": "mean"}), precision="float64"
    )["ntk"]
    factor = 3 / 2 * (1 if pooled else 30)
    assert relative(cntk, factor * tangents) < 1e-13


def test_ckn_relu_is_neural_tangents_times_patch_sizes():
    """CKN relu with average pooling = C/2 9^L P_out NT, for NNGP and NTK."""
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 2))
    options = [{"npatch": 3, "subsampling": 2, "kernel": "relu", "pooling": "average"}] * 2
    ckn = {
        name: compute_gram(
            x,
            kernel={"preset": "ckn", "layers": options, "ntk": name == "ntk"},
            precision="float64",
        )
        for name in ("nngp", "ntk")
    }
    network = [*NT_NET, {"type": "avg_pool", "window": 2}] * 2
    network += [{"type": "flatten"}, {"type": "dense", "w_std": 2**0.5}]
    tangents = compute_gram(
        x, kernel=conventions(network, input={"channels": "mean"}), precision="float64"
    )
    for name, gram in ckn.items():
        assert relative(gram, 2 / 2 * 9**2 * 4 * tangents[name]) < 1e-13


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        ("nt_myrtle5_16x16", {"preset": "myrtle5", "head": False}),
        ("nt_fc_relu_d3_nobias_he", {"preset": "fc", "depth": 3}),
    ],
)
def test_presets_agree_with_their_oracle(name, preset):
    """Channels are summed here and averaged there; the rest of the constants cancels.

    The oracle's NTK trains a last dense layer, which Myrtle5 without its head lacks.
    """
    arrays, entry = load(name), INDEX[name]
    spec = parse_kernel({**preset, "kernel": ["nngp", "ntk"]})
    if not isinstance(spec.layers[-1], layers.Dense):
        spec = spec.model_copy(update={"layers": (*spec.layers, layers.Dense())})
    found = compute_gram(arrays["x"], kernel=spec, precision="float64")
    channels = arrays["x"].shape[-1]
    for kernel, gram in found.items():
        limit = entry["diagonal_tolerance"][kernel]
        assert relative(gram / channels, arrays[f"{kernel}_sym"]) <= limit
