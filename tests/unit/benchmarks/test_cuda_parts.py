"""Parts of the benchmark of the CUDA engine, each held against what it stands for."""

from pathlib import Path

import numpy as np
import pytest
from benchmarks.cuda_parts import baseline, networks, sass
from benchmarks.cuda_parts.measure import Row, items_of, state_bytes
from benchmarks.cuda_parts.report import agreement_lines, time_lines
from cuda_shim import ShimDevice

from gramserve.kernels import ReferenceEngine
from gramserve.kernels.cuda import CudaEngine
from gramserve.kernels.cuda.program import Program, lower_for
from gramserve.spec import PRESETS, parse_kernel

MEMORY = 2**30
ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    "kernel",
    [
        {"preset": "myrtle5"},
        {"preset": "myrtle7", "kernel": "ntk"},
        {"preset": "myrtle10", "kernel": "ntk"},
        {"preset": "cntk", "depth": 3},
    ],
)
def test_the_dense_baseline_is_the_kernel(kernel):
    spec, engine = parse_kernel(kernel), ReferenceEngine()
    x = networks.images(6, 8).astype(np.float64)
    items = items_of(engine, spec, x)
    (wanted,) = engine.evaluate(spec, items[:3], items[3:], "float64", memory_bytes=MEMORY).values()
    roots = baseline.item_roots(spec, x)
    places = np.arange(3)
    found = baseline.dense_kernel(
        spec, x[places], x[places + 3], [r[places] for r in roots], [r[places + 3] for r in roots]
    )
    np.testing.assert_allclose(found, np.diag(wanted), rtol=1e-12)


def test_the_baseline_says_what_it_does_not_have():
    x = networks.images(1, 8)
    with pytest.raises(ValueError, match="no exp_normalized"):
        baseline.item_roots(parse_kernel("myrtle5_exp"), x)


def test_entries_of_a_myrtle_network_are_all_pairs_of_positions():
    # Three rectifiers before, between and behind the pools, and the head.
    found = networks.entry_layers(parse_kernel("myrtle10"), (32, 32, 3))
    assert found == [3 * 32**4, 3 * 16**4, 3 * 8**4, 1]


def test_entries_of_a_flattened_network_are_those_of_one_plane():
    spec = parse_kernel({"preset": "cntk", "depth": 10, "gap": False})
    assert networks.entry_layers(spec, (32, 32, 3)) == [9 * 32**2, 0]


def test_every_preset_is_checked():
    assert {network.kernel["preset"] for network in networks.NETWORKS} == set(PRESETS)


@pytest.mark.parametrize("network", networks.NETWORKS, ids=lambda each: each.name)
def test_every_network_runs_on_a_card(network):
    shape = (3072,) if network.takes_vectors else (32, 32, 3)
    assert CudaEngine(ShimDevice()).refusal(network.spec, "float32") is None
    steps, kernels, _ = lower_for(network.spec, shape, "float32")
    assert len(kernels.steps) == len(steps.steps)
    assert sum(networks.entry_layers(network.spec, shape)) > 0


def test_images_are_distinct():
    x = networks.images(2048)
    assert x.shape == (2048, 32, 32, 3)
    assert len({image.tobytes() for image in x}) == 2048
    np.testing.assert_allclose(x.std(axis=(1, 2, 3)), 1, rtol=1e-5)


LISTING = """
\t.section\t.text.step_0
.text.step_0:
        /*0000*/                   MOV R1, c[0x0][0x28] ;
.L_x_1:
        /*0010*/                   FFMA R2, R3, R4, R5 ;
        /*0020*/                   LDG.E R6, [R2.64] ;
.L_x_0:
{layers}
        /*0fe0*/              @!P0 BRA `(.L_x_0) ;
        /*0ff0*/                   SHFL.IDX PT, R2, R3, R4, 0x1f ;
        /*1000*/               @P1 BRA.U `(.L_x_1) ;
        /*1010*/                   EXIT ;
"""


def listing():
    lines = [f"        /*{16 * i:04x}*/    FMUL R{i}, R1, R2 ;" for i in range(3, 143)]
    lines.append("        /*0fd0*/              @P2 MUFU.SQRT R8, R9 ;")
    return sass._read(LISTING.replace("{layers}", "\n".join(lines)))


def test_layers_that_repeat_are_counted_as_often_as_they_run():
    names, loops = listing()
    assert len(loops) == 2
    tile = sass.count_tile(names, loops, [3])
    assert (tile["FMUL"], tile["MUFU"], tile["FFMA"], tile["SHFL"]) == (3 * 140, 3, 1, 1)
    assert tile.total() == 3 * 142 + 4


def test_other_loops_than_the_source_has_are_not_counted():
    assert sass.count_tile(*listing(), [3, 2]) is None


def test_bytes_of_states_are_written_and_read():
    program = Program(ShimDevice(), parse_kernel("myrtle5"), (8, 8, 3), "mixed")
    after_first, after_second = program.steps.states
    numbers = after_first.entries + after_second.entries
    assert state_bytes(program) == 2 * 8 * numbers


def test_a_row_says_how_long_a_matrix_takes_and_what_bounds_it():
    row = Row("a", "float32", differs=1e-7, microseconds=5.0, entries=1000, state_bytes=10)
    row.instructions = {"all": 26, "floats": 20, "shuffles": 1, "roots": 1}
    row.set_shares({"copy": 4e6, "issue": 1e10, "fma_f32": 1e10, "shuffle": 4e8, "root": 1e9})
    assert row.hours_for(60_000) == pytest.approx(2.5, rel=1e-4)
    assert row.entries_per_second == pytest.approx(2e8)
    assert row.shares == pytest.approx(
        {"copy": 0.5, "issue": 0.52, "fma_f32": 0.4, "shuffle": 0.5, "root": 0.2}
    )
    assert row.bound == "issue"
    assert row.is_right
    assert "| a | float32 |  | 5 | 5 | 2.5 |" in "\n".join(time_lines([row], {"a": 5}, 60_000))


def test_differences_and_faults_are_wrong():
    assert not Row("a", "float32", differs=1e-3).is_right
    assert not Row("a", "float64", differs=float("nan")).is_right
    broken = Row("a", "mixed", fault="failed: no memory")
    assert not broken.is_right
    assert "| a |  | failed: no memory |  |" in agreement_lines([broken])


def test_machine_code_is_looked_for_where_the_device_puts_it():
    # Both need CuPy; a key that differs would silently find nothing.
    key = "(source, COMPILER_OPTIONS, {}.architecture, nvrtc.getVersion())"
    arrays = ROOT / "gramserve" / "arrays" / "cuda_device.py"
    assert key.format("self") in arrays.read_text()
    card = ROOT / "tests" / "benchmarks" / "cuda_parts" / "card.py"
    assert key.format("device") in card.read_text()
