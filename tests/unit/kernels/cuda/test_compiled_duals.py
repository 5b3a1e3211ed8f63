"""The CUDA engine's duals, compiled for cards: that they are, and what they are made of."""

import re

import pytest
from cuda_resources import ARCHITECTURES, compile_for, ptx_of
from every_activation import ACTIVATIONS, DEGREES_OF_TEMPLATES, spec_of

from gramserve.kernels.cuda.activations import functor_of
from gramserve.kernels.cuda.source import library_source

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
    return "\n".join([constants, *kernels])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_duals_compile_for_cards(architecture):
    source = library_source() + device_source("float", "true") + device_source("double", "true")
    compiled = compile_for(source, architecture)
    assert compiled.warnings == ""
    assert len(compiled.kernels) == 2 * len(TYPES)
    for name, found in compiled.kernels.items():
        assert found.stack == found.spill_stores == 0, name


def test_float_duals_take_neither_double_nor_a_slow_path():
    ptx = ptx_of(library_source() + device_source("float", "true"))
    assert ptx.count(".entry") == len(TYPES)
    # Constants of the sources stand in front of all kernels.
    ptx = ptx.partition(".entry")[2]
    assert "fma.rn.f32" in ptx
    for slow in (".f64", "call", "div.rn", "sqrt.rn", "rcp.rn", ".local"):
        assert slow not in ptx, slow


def test_the_rectifier_takes_fifteen_instructions():
    """The inner loop of most networks: no more than these, none of which is a branch."""
    source = library_source() + device_source("float", "false").partition("extern")[0]
    source += KERNEL.format(symbol="ramp", type="gramserve::Ramp", scalar="float", slope="false")
    ptx = ptx_of(source)
    arithmetic = re.findall(r"^\s+(\w+)[\w.]*\.f32\s.*;", ptx, re.MULTILINE)
    taken = [name for name in arithmetic if name not in {"ld", "st", "mov", "abs", "cvt"}]
    # Magnitudes and bounds are part of other instructions; half of the number belongs to no pair.
    assert len(taken) <= 16, taken
    assert "setp" not in ptx
