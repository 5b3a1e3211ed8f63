"""Presets compiled for cards: no warnings, registers within bounds, nothing spilled."""

import pytest
from cuda_resources import compile_for

from gramserve.kernels.cuda.program import lower_for
from gramserve.spec import parse_kernel

# Twelve warps of a multiprocessor, three blocks of 128 threads, have 168 registers a thread.
CASES = [
    ("sm_80", "myrtle10", "nngp", (32, 32, 3), "float32", 168, 0),
    ("sm_90", "myrtle10", "nngp", (32, 32, 3), "float32", 168, 0),
    ("sm_90", "myrtle10", "ntk", (32, 32, 3), "mixed", 168, 0),
    ("sm_80", {"preset": "cntk", "depth": 20}, "ntk", (28, 28, 1), "float32", 168, 0),
    ("sm_90", {"preset": "cntk", "depth": 20}, "ntk", (32, 32, 3), "float32", 168, 0),
    # S and T of 32 rows in float64 are 128 registers by themselves.
    ("sm_90", {"preset": "cntk", "depth": 5}, "ntk", (32, 32, 3), "float64", 255, 256),
    # So is S of 64 rows in two columns.
    ("sm_90", {"preset": "cntk", "depth": 3}, "nngp", (64, 64, 3), "float32", 255, 1024),
]  # fmt: skip


@pytest.mark.parametrize(
    ("architecture", "preset", "kernel", "shape", "precision", "registers", "spills"), CASES
)
def test_a_preset_compiles_without_spills(
    architecture, preset, kernel, shape, precision, registers, spills
):
    spec = parse_kernel({**parse_kernel(preset).canonical(), "kernel": kernel})
    compiled = compile_for(lower_for(spec, shape, precision)[1].source, architecture)
    assert compiled.warnings == ""
    for name, found in compiled.kernels.items():
        assert found.registers <= registers, name
        assert found.spill_stores + found.spill_loads <= spills, name
