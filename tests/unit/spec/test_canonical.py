"""Canonical JSON and digests: what names stored results may never change by accident."""

import hashlib

import numpy as np
import pytest

from gramserve.spec import (
    KERNEL_CODE_VERSION,
    BlockAddresses,
    KernelSpec,
    block_address,
    canonical_json,
    described_kernel_address,
    digest_of,
    gram_address,
    kernel_address,
    layers,
    parse_kernel,
)

EXAMPLE = {
    "format": "gramserve.kernel/1",
    "input": {"channels": "sum"},
    "layers": [
        {"type": "conv", "size": 3, "w_std": 1.4142135623730951},
        {"type": "relu"},
        {"type": "avg_pool", "window": 2},
        {"type": "conv", "size": 3},
        {"type": "relu"},
        {"type": "global_avg_pool"},
        {"type": "dense"},
    ],
    "kernel": "ntk",
}

# Written by hand from RFC 8785 and the defaults of docs/spec.md.
CANONICAL = (
    b'{"format":"gramserve.kernel/1","input":{"channels":"sum","layout":"auto"},"kernel":"ntk",'
    b'"layers":['
    b'{"average":true,"b_std":0,"dilation":[1,1],"fill":[1,1],"padding":"same","size":[3,3],'
    b'"strides":[1,1],"trainable":true,"type":"conv","w_std":1.4142135623730951},'
    b'{"normalized":false,"project":false,"type":"relu"},'
    b'{"normalize_edges":false,"padding":"valid","strides":[2,2],"type":"avg_pool",'
    b'"window":[2,2]},'
    b'{"average":true,"b_std":0,"dilation":[1,1],"fill":[1,1],"padding":"same","size":[3,3],'
    b'"strides":[1,1],"trainable":true,"type":"conv","w_std":1},'
    b'{"normalized":false,"project":false,"type":"relu"},'
    b'{"type":"global_avg_pool"},'
    b'{"b_std":0,"trainable":true,"type":"dense","w_std":1}]}'
)


def test_the_digest_is_that_of_the_canonical_json():
    spec = parse_kernel(EXAMPLE)
    assert canonical_json(spec.canonical()) == CANONICAL
    assert spec.digest() == hashlib.sha256(CANONICAL).hexdigest()
    pinned = "4a0a999213a56965f46d24a9115d38bcefdc7cb3f99a5a6bf71afd865ce65b55"
    assert spec.digest() == pinned


def test_the_network_has_one_digest_whichever_kernel_is_asked_for():
    digests = {
        parse_kernel({**EXAMPLE, "kernel": kernel}).network_digest()
        for kernel in ("nngp", "ntk", ["nngp", "ntk"])
    }
    without = CANONICAL.replace(b'"kernel":"ntk",', b"")
    assert digests == {hashlib.sha256(without).hexdigest()}


@pytest.mark.parametrize(
    "same",
    [
        {"size": 3},
        {"size": 3.0},
        {"size": [3, 3]},
        {"size": np.int64(3)},
        {"size": np.array([3, 3])},
        {"size": 3, "w_std": 1},
        {"size": 3, "strides": [1, 1], "padding": "same", "fill": 1.0},
    ],
)
def test_ways_to_write_a_layer_have_one_digest(same):
    rest = [{"type": "flatten"}]
    spec = parse_kernel({"layers": [{"type": "conv", **same}, *rest]})
    assert spec.digest() == KernelSpec(layers=[layers.Conv(size=3), layers.Flatten()]).digest()
    assert spec == KernelSpec(layers=[layers.Conv(size=3), layers.Flatten()])
    assert hash(spec) == hash(KernelSpec(layers=[layers.Conv(size=3), layers.Flatten()]))


@pytest.mark.parametrize(
    "other",
    [
        {"size": 5},
        {"size": [3, 1]},
        {"size": 3, "w_std": 1.0000000000000002},
        {"size": 3, "padding": "valid"},
        {"size": 3, "padding": [[1, 1], [1, 1]]},
        {"size": 3, "average": False},
        {"size": 3, "trainable": False},
    ],
)
def test_other_layers_have_other_digests(other):
    rest = [{"type": "flatten"}]
    spec = parse_kernel({"layers": [{"type": "conv", **other}, *rest]})
    assert spec.digest() != KernelSpec(layers=[layers.Conv(size=3), layers.Flatten()]).digest()


def test_the_order_of_two_kernels_does_not_matter():
    both = parse_kernel({**EXAMPLE, "kernel": ["ntk", "nngp"]})
    assert both.kernels == ("nngp", "ntk")
    assert both.digest() == parse_kernel({**EXAMPLE, "kernel": ("nngp", "ntk")}).digest()
    assert parse_kernel({**EXAMPLE, "kernel": ["ntk"]}) == parse_kernel(EXAMPLE)


def test_a_spec_survives_its_own_json():
    spec = parse_kernel({"preset": "ckn", "layers": [{"npatch": 2, "subsampling": 2}]})
    assert parse_kernel(spec.canonical()) == spec


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"b": 1.0, "a": [None, True]}, b'{"a":[null,true],"b":1}'),
        ({"é": "é", "z": 1e21}, '{"z":1e+21,"é":"é"}'.encode()),
        ([0.1, 1e-7, -0.0, 333333333.3333333], b"[0.1,1e-7,0,333333333.3333333]"),
    ],
)
def test_numbers_and_keys_are_written_as_the_rfc_says(value, expected):
    assert canonical_json(value) == expected
    assert digest_of(value) == hashlib.sha256(expected).hexdigest()


def test_addresses_depend_on_everything_that_decides_the_numbers():
    spec, other = parse_kernel("fc"), parse_kernel({"preset": "fc", "depth": 2})
    a, b = "a" * 64, "b" * 64
    grams = [
        gram_address(spec, "float32", a, None, 64),
        gram_address(other, "float32", a, None, 64),
        gram_address(spec, "mixed", a, None, 64),
        gram_address(spec, "float32", b, None, 64),
        gram_address(spec, "float32", a, a, 64),
        gram_address(spec, "float32", a, b, 64),
        gram_address(spec, "float32", b, a, 64),
        gram_address(spec, "float32", a, None, 65),
    ]
    assert len(set(grams)) == len(grams)
    assert all(len(address) == 32 for address in grams)
    blocks = [
        block_address(spec, "float32", a, b),
        block_address(spec, "float32", b, a),
        block_address(spec, "float64", a, b),
        block_address(other, "float32", a, b),
    ]
    assert len(set(blocks)) == len(blocks)


@pytest.mark.parametrize("kernel", ["fc", "myrtle5", {"preset": "cntk", "depth": 3}])
@pytest.mark.parametrize("precision", ["float32", "mixed"])
def test_addresses_of_many_blocks_are_those_of_each(kernel, precision):
    spec = parse_kernel(kernel)
    rows, columns = digest_of("rows"), digest_of("columns")
    addresses = BlockAddresses(spec, precision)
    assert addresses.of(rows, columns) == block_address(spec, precision, rows, columns)
    assert addresses.of(columns, rows) == block_address(spec, precision, columns, rows)


def test_the_function_of_a_matrix_is_named_alike_by_request_and_by_description():
    spec = parse_kernel(EXAMPLE)
    described = {
        "kernel": spec.canonical(),
        "precision": "float32",
        "kernel_code_version": KERNEL_CODE_VERSION,
    }
    address = kernel_address(spec, "float32")
    assert described_kernel_address(described) == address
    other = parse_kernel({**EXAMPLE, "kernel": "nngp"})
    others = [
        kernel_address(spec, "mixed"),
        kernel_address(other, "float32"),
        described_kernel_address({**described, "kernel_code_version": KERNEL_CODE_VERSION - 1}),
    ]
    assert len({address, *others}) == 4
