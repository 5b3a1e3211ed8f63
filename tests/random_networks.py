"""Random small networks over everything the reference engine runs, with items that fit."""

from hypothesis import strategies as st

from gramserve.errors import ShapeError
from gramserve.spec import infer_shapes, parse_kernel

small = st.floats(0.3, 1.7).map(lambda value: round(value, 3))


@st.composite
def activations(draw):
    kind = draw(
        st.sampled_from(
            ["relu", "leaky_relu", "abrelu", "abs", "arc_cosine", "erf", "exp_normalized", "power",
             "identity", "linear", "sign", "step", "sigmoid_like", "gelu", "sin", "cos", "rbf",
             "gaussian", "gabor", "monomial", "polynomial", "hermite", "layer_norm", "numeric"]
        )
    )  # fmt: skip
    layer = {"type": kind}
    match kind:
        case "relu":
            layer["normalized"] = draw(st.booleans())
        case "leaky_relu":
            layer["alpha"] = draw(st.floats(-1, 1).map(lambda value: round(value, 3)))
        case "abrelu":
            layer |= {"a": -draw(small), "b": draw(small)}
        case "arc_cosine":
            layer |= {"order": draw(st.integers(0, 2)), "normalized": draw(st.booleans())}
        case "sin" | "cos":
            layer |= {"a": draw(small), "b": draw(small), "c": round(draw(small) - 1, 3)}
        case "numeric":
            layer |= {"function": draw(st.sampled_from(["tanh", "softplus", "silu"]))}
            layer |= {"degree": draw(st.integers(1, 12))}
        case "rbf":
            layer |= {"gamma": draw(small)}
        case "gaussian":
            layer |= {"a": draw(small), "b": -draw(small)}
        case "monomial" | "hermite":
            layer |= {"degree": draw(st.integers(0, 2))}
        case "polynomial":
            layer |= {"coefficients": [round(draw(small) - 1, 3) for _ in range(3)]}
        case "layer_norm":
            layer |= {"axes": draw(st.sampled_from(["channels", "all"]))}
            layer |= {"eps": draw(st.sampled_from([0.0, 1e-6, 0.1]))}
        case "erf":
            layer |= {"a": draw(small), "b": draw(small), "c": round(draw(small) - 1, 3)}
        case "exp_normalized":
            layer |= {"gamma": draw(small)}
        case "power":
            layer |= {"degree": draw(st.integers(1, 3))}
        case "linear":
            layer |= {"factor": draw(small)}
    return layer


def weights(draw):
    return {
        "w_std": draw(small),
        "b_std": draw(st.sampled_from([0.0, 0.4])),
        "trainable": draw(st.booleans()),
    }


@st.composite
def convolutions(draw, axes):
    each = st.lists(st.integers(1, 3), min_size=axes, max_size=axes)
    kind = draw(st.sampled_from(["conv", "conv", "conv", "conv_local"]))
    layer = {"type": kind, "size": draw(each), "average": draw(st.booleans()), **weights(draw)}
    layer["padding"] = draw(
        st.sampled_from(["same", "same", "valid", "circular", [[1, 0]] * axes, [[0, 2]] * axes])
    )
    layer["strides"] = draw(st.lists(st.integers(1, 2), min_size=axes, max_size=axes))
    layer["dilation"] = draw(st.lists(st.integers(1, 2), min_size=axes, max_size=axes))
    if layer["padding"] != "circular":
        layer["fill"] = draw(st.lists(st.sampled_from([1, 1, 2]), min_size=axes, max_size=axes))
    return layer


@st.composite
def pools(draw, axes):
    if draw(st.booleans()):
        return {
            "type": "ckn_pool",
            "kind": draw(st.sampled_from(["gaussian", "average", "strided"])),
            "subsampling": draw(st.integers(1, 2)),
            "factor": draw(st.integers(1, 2)),
        }
    each = st.lists(st.integers(1, 3), min_size=axes, max_size=axes)
    return {
        "type": draw(st.sampled_from(["avg_pool", "sum_pool"])),
        "window": draw(each),
        "strides": draw(each),
        "padding": draw(st.sampled_from(["valid", "same"])),
        "normalize_edges": draw(st.booleans()),
    }


# A rectifier behind it: the sum over centred positions is zero, and all that is left rounding.
CENTERED = {"type": "residual", "branches": [[{"type": "center"}, {"type": "relu"}]]}


def blocks(axes):
    plain = st.one_of(convolutions(axes), activations(), activations(), pools(axes))
    if axes:
        plain = st.one_of(plain, plain, plain, plain, st.just(CENTERED))
    same = {"type": "conv", "size": 3 if axes else 1}
    residual = activations().map(
        lambda act: {"type": "residual", "branches": [[act, dict(same)], []]}
    )
    concat = activations().map(lambda act: {"type": "concat", "branches": [[act], [dict(same)]]})
    return st.one_of(plain, plain, plain, residual, concat)


@st.composite
def networks(draw):
    """(spec, item shape) of a network that fits its items."""
    axes = draw(st.sampled_from([0, 1, 2, 2, 2]))
    spec = {
        "kernel": ["nngp", "ntk"],
        "input": {
            "channels": draw(st.sampled_from(["sum", "sum", "mean", "all"])),
            "channel_variances": draw(st.sampled_from([1.0, 1.0, 0.7])),
            "bias_variance": draw(st.sampled_from([0.0, 0.0, 0.3])),
            "layout": "sequence" if axes == 1 else "auto",
        },
    }
    if axes == 0:
        shape = (draw(st.integers(1, 4)),)
        dense = lambda: {"type": "dense", **weights(draw)}  # noqa: E731
        body = [
            layer
            for _ in range(draw(st.integers(1, 3)))
            for layer in (dense(), draw(activations()))
        ]
        branch = {"type": "residual", "branches": [[draw(activations()), dense()], []]}
        spec["layers"] = [*body, *([branch] if draw(st.booleans()) else []), dense()]
        return parse_kernel(spec), shape
    shape = (
        *draw(st.lists(st.integers(1, 5), min_size=axes, max_size=axes)),
        draw(st.integers(1, 2)),
    )
    wanted = draw(st.lists(blocks(axes), min_size=1, max_size=4))
    end = [
        draw(
            st.sampled_from(
                [{"type": "global_avg_pool"}, {"type": "global_sum_pool"}, {"type": "flatten"},
                 {"type": "flatten", "average": False}]
            )
        )
    ]  # fmt: skip
    tail = draw(
        st.sampled_from(
            [[], [{"type": "dense", "b_std": 0.2}],
             [{"type": "relu", "normalized": True, "project": True}],
             [{"type": "dense"}, {"type": "erf"}, {"type": "dense", "w_std": 1.2}]]
        )
    )  # fmt: skip
    layers = []
    for layer in wanted:  # leave out what does not fit, so that every draw is a network
        try:
            trial = parse_kernel({**spec, "layers": [*layers, layer, *end]})
            infer_shapes(trial, shape)
        except ShapeError:
            continue
        layers.append(layer)
    return parse_kernel({**spec, "layers": [*layers, *end, *tail]}), shape


def count_steps(network):
    """How many activations have a dual with infinite slope at angles 0 and pi."""
    return sum(
        layer.type in {"sign", "step"}
        or (layer.type == "arc_cosine" and layer.order == 0)
        or sum(count_steps(branch) for branch in getattr(layer, "branches", ()))
        for layer in network
    )
