"""The engine of finite networks: blocks, symmetry, memory, both ways to multiply Jacobians."""

import tracemalloc

import numpy as np
import pytest

import gramserve as gs
from gramserve.errors import (
    EngineUnavailableError,
    MemoryBudgetError,
    NonFiniteKernelError,
    ShapeError,
)
from gramserve.kernels import ENGINES, Items, choose_engine
from gramserve.kernels.finite.jacobians import (
    LayerRecord,
    bias_products,
    layer_jacobian,
    weight_products,
)
from gramserve.kernels.finite.network import draw_network
from gramserve.kernels.finite.parameters import draw_parameters
from gramserve.spec import KernelSpec, parse_kernel
from gramserve.stages import count_finite, count_operations, lay_out

ENGINE = ENGINES["finite"]
CONV, RELU = {"type": "conv", "size": 3, "b_std": 0.3}, {"type": "relu"}
NETWORK = {
    "layers": [CONV, RELU, {**CONV, "strides": 2}, {"type": "erf"},
               {**CONV, "type": "conv_local"}, {"type": "global_avg_pool"}, {"type": "dense"}],
    "kernel": ["nngp", "ntk"],
    "finite": {"width": 5, "samples": 3, "outputs": 2},
}  # fmt: skip
SPEC = parse_kernel(NETWORK)
X = np.random.default_rng(0).standard_normal((9, 6, 5, 2))
LARGE = 2**30


def items(values):
    keys = np.array([value.tobytes().hex() for value in values])
    return Items(values, np.empty((len(values), 0)), keys)


def evaluate(rows, columns=None, *, spec=SPEC, precision="float64", memory_bytes=LARGE):
    left = items(rows)
    right = left if columns is None else items(columns)
    return ENGINE.evaluate(spec, left, right, precision, memory_bytes=memory_bytes)


@pytest.mark.parametrize("precision", ["float32", "mixed", "float64"])
def test_blocks_are_parts_of_the_matrix_whatever_the_memory(precision):
    whole = evaluate(X, precision=precision)
    least = ENGINE.temporary_bytes(SPEC, X.shape[1:], precision)
    tolerance = 1e-13 if precision == "float64" else 3e-6
    for memory in (least, 3 * least, LARGE):
        block = evaluate(X[2:5], X[4:], precision=precision, memory_bytes=memory)
        diagonal = evaluate(X[:7], precision=precision, memory_bytes=memory)
        for name, matrix in whole.items():
            assert matrix.dtype == (np.float64 if precision == "float64" else np.float32)
            np.testing.assert_array_equal(matrix, matrix.T)
            np.testing.assert_array_equal(diagonal[name], diagonal[name].T)
            scale = np.abs(matrix).max()
            for part, same in ((block, matrix[2:5, 4:]), (diagonal, matrix[:7, :7])):
                np.testing.assert_allclose(part[name], same, rtol=tolerance, atol=tolerance * scale)


def test_precisions_agree_and_kernels_do_not_depend_on_what_else_is_asked_for():
    exact = evaluate(X)
    for precision in ("float32", "mixed"):
        for name, matrix in evaluate(X, precision=precision).items():
            np.testing.assert_allclose(matrix, exact[name], rtol=2e-5, atol=2e-6)
    for name in ("nngp", "ntk"):
        spec = SPEC.for_output(name)
        for memory in (ENGINE.temporary_bytes(spec, X.shape[1:], "float64"), LARGE):
            alone = evaluate(X, spec=spec, memory_bytes=memory)
            assert set(alone) == {name}
            np.testing.assert_allclose(alone[name], exact[name], rtol=1e-13)


def test_both_kernels_are_positive_semidefinite():
    for matrix in evaluate(X).values():
        eigenvalues = np.linalg.eigvalsh(matrix)
        assert eigenvalues[0] > -1e-12 * eigenvalues[-1]
        assert eigenvalues[-1] > 0


def test_samples_are_averaged_and_seeds_differ():
    single = [
        evaluate(X, spec=parse_kernel({**NETWORK, "finite": {"width": 5, "samples": count}}))
        for count in (1, 2)
    ]
    other = parse_kernel({**NETWORK, "finite": {"width": 5, "samples": 1, "seed": 1}})
    for name in ("nngp", "ntk"):
        assert not np.allclose(single[0][name], single[1][name], rtol=1e-3)
        assert not np.allclose(single[0][name], evaluate(X, spec=other)[name], rtol=1e-3)


def test_parameters_are_pinned():
    """A change of these numbers changes every stored matrix: raise KERNEL_CODE_VERSION."""
    node = lay_out(SPEC, X.shape[1:]).nodes[0]
    first, again = (draw_parameters(node, 7, 3, np.dtype(float)) for _ in range(2))
    np.testing.assert_array_equal(first.weights, again.weights)
    assert first.weights.shape == (9, 2, 5)
    assert first.biases.shape == (5,)
    pinned = [1.3897428928359876, 0.7231653498468252, -0.5495239232458322]
    np.testing.assert_allclose(first.weights.ravel()[:3], pinned, rtol=1e-12)
    rounded = draw_parameters(node, 7, 3, np.dtype(np.float32))
    np.testing.assert_array_equal(rounded.weights, first.weights.astype(np.float32))
    for seed, sample in ((8, 3), (7, 4)):
        other = draw_parameters(node, seed, sample, np.dtype(float))
        assert not np.isin(other.weights, first.weights).any()


def test_every_layer_has_numbers_of_its_own():
    branch = [{"type": "conv", "size": 3}]
    spec = parse_kernel({
        "layers": [*branch, {"type": "residual", "branches": [branch, branch]}, *branch,
                   {"type": "global_avg_pool"}],
        "finite": {"width": 3},
    })  # fmt: skip
    drawn = [
        draw_parameters(node, 0, 0, np.dtype(float)).weights.ravel()
        for node in lay_out(spec, (4, 4, 3)).all_nodes()
        if node.weight_count
    ]
    assert len(drawn) == 5
    assert len(np.unique(np.concatenate(drawn))) == sum(len(part) for part in drawn)


def test_the_cost_counts_the_parameters_that_are_drawn():
    layout = lay_out(SPEC, X.shape[1:])
    drawn = 0
    for node in layout.all_nodes():
        if node.weight_count:
            parts = draw_parameters(node, 0, 0, np.dtype(float))
            drawn += parts.weights.size + (0 if parts.biases is None else parts.biases.size)
    assert count_finite(SPEC, X.shape[1:]).parameters == drawn


@pytest.mark.parametrize("index", [0, 2, 4])
def test_jacobians_multiply_to_the_same_in_both_ways(index):
    rng = np.random.default_rng(1)
    results = []
    for work in (1, 20_000, LARGE):
        network = draw_network(lay_out(SPEC, X.shape[1:]), 0, np.dtype(float), work)
        unit = network.elements[index].unit
        rng = np.random.default_rng(1)
        before, after = unit.node.before, unit.node.after
        left, right = (
            LayerRecord(
                rng.standard_normal((count, *before.positions, before.channels)),
                rng.standard_normal((count, 2, *after.positions, after.channels)),
            )
            for count in (5, 3)
        )
        results.append(weight_products(unit, left, right))
        explicit = [
            layer_jacobian(unit, record).reshape(len(record), -1) for record in (left, right)
        ]
        np.testing.assert_allclose(results[-1], explicit[0] @ explicit[1].T, rtol=1e-10)
        biases = [
            record.vectors.reshape(len(record), 2, *(() if unit.is_local else (-1,)),
                                   *(after.positions if unit.is_local else ()), after.channels)
            for record in (left, right)
        ]  # fmt: skip
        if not unit.is_local:
            biases = [part.sum(axis=2) for part in biases]
        expected = biases[0].reshape(5, -1) @ biases[1].reshape(3, -1).T
        np.testing.assert_allclose(bias_products(unit, left, right), expected, rtol=1e-10)
    for other in results[1:]:
        np.testing.assert_allclose(results[0], other, rtol=1e-10)


def test_too_little_memory_names_both_numbers():
    with pytest.raises(MemoryBudgetError, match=r"networks of width 5 .* 0\.0 MiB are allowed"):
        evaluate(X, memory_bytes=1000)


def test_overflow_names_the_layer_and_the_pair():
    layers = [{"type": "dense"}, {"type": "exp", "b": 60}, {"type": "dense"}]
    spec = parse_kernel({"layers": layers, "finite": {"width": 4}})
    x = np.array([[0.0], [0.1], [1e3]])
    with pytest.raises(NonFiniteKernelError, match=r"layers\[1\] \(exp\).*row 0 and column 2"):
        evaluate(x, spec=spec, precision="float32")
    inside = [{"type": "residual", "branches": [layers, []]}, {"type": "dense"}]
    spec = parse_kernel({"layers": [{"type": "dense"}, *inside], "finite": {"width": 4}})
    with pytest.raises(NonFiniteKernelError, match=r"branches\[0\]\[1\] \(exp\)"):
        evaluate(x, spec=spec, precision="float32")


def test_results_too_large_for_float32_are_said_to_be():
    spec = parse_kernel({"layers": [{"type": "dense", "w_std": 1e15}], "finite": {}})
    with pytest.raises(NonFiniteKernelError, match="the result is NaN or infinite"):
        evaluate(np.full((2, 1), 1e15), spec=spec, precision="mixed")


def test_other_engines_are_refused_by_name_and_this_one_needs_networks():
    spec = parse_kernel({"preset": "fc", "finite": {}})
    assert choose_engine(spec, "float32") == (ENGINE, "finite networks have their own engine")
    for name in ("cpu", "reference"):
        with pytest.raises(EngineUnavailableError, match=r'infinite width .* use engine "auto"'):
            choose_engine(spec, "float32", name)
    with pytest.raises(EngineUnavailableError, match="has no finite networks"):
        choose_engine(parse_kernel("fc"), "float32", "finite")
    assert ENGINE not in [choose_engine(parse_kernel("fc"), "float32")[0]]


def test_weighted_inputs_are_refused_and_not_ignored():
    for given in ({"channels": "all"}, {"bias_variance": 0.5}, {"channel_variances": [1, 2]}):
        spec = parse_kernel({"preset": "fc", "finite": {}, "input": given})
        with pytest.raises(EngineUnavailableError, match="weights on the input's channels"):
            gs.compute_gram(np.eye(2), kernel=spec)


def test_fields_that_came_later_are_refused_and_not_ignored():
    class Extended(KernelSpec):
        twist: str | None = None

    body = parse_kernel({"preset": "fc", "finite": {}}).canonical()
    assert ENGINE.refusal(Extended.model_validate(body), "float32") is None
    refused = ENGINE.refusal(Extended.model_validate({**body, "twist": "left"}), "float32")
    assert refused == "`twist` is not implemented for finite networks"


def test_branches_of_different_channels_are_refused_where_the_items_are_known():
    layers = [{"type": "residual", "branches": [[CONV], []]}, {"type": "flatten"}]
    spec = parse_kernel({"layers": layers, "finite": {"width": 5}})
    with pytest.raises(ShapeError, match=r"with 5 channels and branches\[1\] with 2") as caught:
        count_operations(spec, (4, 4, 2))
    assert caught.value.errors[0]["loc"] == "layers[0]"
    assert count_operations(spec, (4, 4, 5)).operations > 0


@pytest.mark.parametrize(
    ("name", "outputs", "kernel"),
    [("stack", 1, "nngp"), ("stack", 6, "ntk"), ("branches", 1, ["nngp", "ntk"]),
     ("branches", 6, "ntk"), ("branches", 1, "nngp")],
)  # fmt: skip
def test_what_is_promised_of_memory_is_kept(name, outputs, kernel):
    conv = {"type": "conv", "size": 3}
    inner = {"type": "concat", "branches": [[RELU], [RELU, conv], [conv]]}
    network = {
        "stack": [conv, RELU, conv, RELU, {"type": "global_avg_pool"}],
        "branches": [
            conv,
            {"type": "residual", "branches": [[inner, conv], []]},
            {"type": "flatten"},
        ],
    }[name]
    spec = parse_kernel({
        "layers": network, "kernel": kernel,
        "finite": {"width": 24, "samples": 1, "outputs": outputs},
    })  # fmt: skip
    x = np.random.default_rng(0).standard_normal((5, 10, 10, 3))
    many, one = items(x[1:]), items(x[:1])
    least = ENGINE.temporary_bytes(spec, x.shape[1:], "float64")
    evaluate(x[:1], spec=spec)  # what Python keeps of places and classes is no part of it
    for memory, rows, columns in ((least, many, one), (3 * least, one, many)):
        tracemalloc.start()
        ENGINE.evaluate(spec, rows, columns, "float64", memory_bytes=memory)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert 0.2 * least < peak < memory + 2**17
