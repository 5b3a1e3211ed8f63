"""The CUDA engine's duals, compiled for cards: that they are, and what they are made of."""

import re

import pytest
from device_sources import compile_for_card, needs_nvcc
from every_activation import ACTIVATIONS, DEGREES_OF_TEMPLATES, spec_of

from gramserve.kernels.cuda.activations import functor_of

pytestmark = needs_nvcc

TYPES = sorted(
    {
        functor_of(spec_of(layer).layers[0])[0]
        for layer in (ACTIVATIONS | DEGREES_OF_TEMPLATES).values()
    }
)

KERNEL = """
extern "C" __global__ void {symbol}_{scalar}(const {scalar}* s, const gramserve::Roots<{scalar}>* x,
                                             const gramserve::Roots<{scalar}>* y, {scalar}* out) {{
  const int k = blockIdx.x * blockDim.x + threadIdx.x;
  const auto found = {type}::take<{slope}>(s[k], x[k], y[k], numbers_{scalar});
  out[2 * k] = found.value;
  out[2 * k + 1] = found.slope;
}}
"""


def device_source(scalar, slope):
    """Return a translation unit with a kernel for every type."""
    kernels = [
        KERNEL.format(symbol=re.sub(r"\W+", "_", name), type=name, scalar=scalar, slope=slope)
        for name in TYPES
    ]
    constants = f"__constant__ {scalar} numbers_{scalar}[256];"
    return "\n".join(['#include "duals.cuh"', constants, *kernels])


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_the_sources_compile_for_cards(tmp_path, architecture):
    sources = device_source("float", "true") + device_source("double", "true")
    assert compile_for_card(tmp_path, sources, "-cubin", f"-arch={architecture}")[:4] == b"\x7fELF"


def test_float_duals_take_neither_double_nor_a_slow_path(tmp_path):
    ptx = compile_for_card(tmp_path, device_source("float", "true"), "-ptx", "-arch=sm_80").decode()
    assert ptx.count(".entry") == len(TYPES)
    assert "fma.rn.f32" in ptx
    for slow in (".f64", "call", "div.rn", "sqrt.rn", "rcp.rn", ".local"):
        assert slow not in ptx, slow


def test_the_rectifier_takes_fifteen_instructions(tmp_path):
    """The inner loop of most networks: no more than these, none of which is a branch."""
    source = device_source("float", "false").partition("extern")[0]
    source += KERNEL.format(symbol="ramp", type="gramserve::Ramp", scalar="float", slope="false")
    ptx = compile_for_card(tmp_path, source, "-ptx", "-arch=sm_80").decode()
    arithmetic = re.findall(r"^\s+(\w+)[\w.]*\.f32\s.*;", ptx, re.MULTILINE)
    taken = [name for name in arithmetic if name not in {"ld", "st", "mov", "abs", "cvt"}]
    # Magnitudes and bounds are part of other instructions; half of the number belongs to no pair.
    assert len(taken) <= 16, taken
    assert "setp" not in ptx
