import json
import subprocess
import sys

import numpy as np
import pytest
import zarr
from command_line import KERNEL, OVERFLOW, data_of, gramserve
from live_server import child_environment

import gramserve as gs
from gramserve.kernels import ENGINES

BOTH = {
    "layers": [{"type": "dense"}, {"type": "relu"}, {"type": "dense"}],
    "kernel": ["nngp", "ntk"],
}


class TestCompute:
    def test_the_matrix_is_that_of_compute_gram(self, images, kernel_file, tmp_path):
        path, x = images
        out = tmp_path / "gram.zarr"
        result = gramserve(
            "compute", path, "--kernel", kernel_file, "--out", out, "--block-size", 8, "--json"
        )
        answer = data_of(result)
        assert answer["blocks"] == {"total": 6, "done": 6, "reused": 0, "computed": 6, "failed": 0}
        assert answer["shape"] == [20, 20]
        expected = gs.compute_gram(x, kernel=KERNEL)
        np.testing.assert_allclose(zarr.open_array(out, mode="r")[:], expected, rtol=1e-5)
        assert not out.with_name("gram.zarr.work").exists()
        assert sorted(entry.name for entry in tmp_path.iterdir()) == [
            "gram.zarr",
            "kernel.json",
            "x.npy",
        ]

    def test_again_computes_nothing(self, images, kernel_file, tmp_path):
        command = ("compute", images[0], "-k", kernel_file, "-o", tmp_path / "g.zarr", "--json")
        first, again = data_of(gramserve(*command)), data_of(gramserve(*command))
        assert first["blocks"]["computed"] == again["blocks"]["reused"] == 1
        assert again["blocks"]["computed"] == 0
        assert not (tmp_path / "g.zarr.work").exists()

    def test_two_kernels_make_a_group(self, tmp_path):
        x = np.random.default_rng(1).standard_normal((9, 5))
        np.save(tmp_path / "x.npy", x)
        result = gramserve(
            "compute",
            tmp_path / "x.npy",
            "-k",
            json.dumps(BOTH),
            "-o",
            tmp_path / "g.zarr",
            "--block-size",
            4,
            "--precision",
            "float64",
        )
        assert result.exit_code == 0, result.stderr
        group = zarr.open_group(tmp_path / "g.zarr", mode="r")
        expected = gs.compute_gram(x, kernel=BOTH, precision="float64")
        for name in ("nngp", "ntk"):
            np.testing.assert_allclose(group[name][:], expected[name], rtol=1e-12)

    def test_other_columns_and_worker_processes(self, images, kernel_file, tmp_path):
        path, x = images
        np.save(tmp_path / "y.npy", x[:7])
        result = gramserve(
            "compute",
            path,
            "--other",
            tmp_path / "y.npy",
            "-k",
            kernel_file,
            "-o",
            tmp_path / "g.zarr",
            "--block-size",
            5,
            "--workers",
            2,
            "--json",
        )
        assert data_of(result)["blocks"]["total"] == 8
        expected = gs.compute_gram(x, x[:7], kernel=KERNEL)
        array = zarr.open_array(tmp_path / "g.zarr", mode="r")
        np.testing.assert_allclose(array[:], expected, rtol=1e-5)

    def test_one_item(self, tmp_path):
        np.save(tmp_path / "x.npy", np.ones((1, 4)))
        result = gramserve("compute", tmp_path / "x.npy", "-k", "fc", "-o", tmp_path / "g.zarr")
        assert result.exit_code == 0, result.stderr
        expected = gs.compute_gram(np.ones((1, 4)), kernel="fc")
        np.testing.assert_allclose(zarr.open_array(tmp_path / "g.zarr", mode="r")[:], expected)

    def test_another_request_for_the_same_place_is_refused(self, images, kernel_file, tmp_path):
        path, x = images
        out = tmp_path / "g.zarr"
        assert gramserve("compute", path, "-k", kernel_file, "-o", out).exit_code == 0
        before = zarr.open_array(out, mode="r")[:]
        np.save(tmp_path / "y.npy", x[::-1])
        for words in (
            ("compute", tmp_path / "y.npy", "-k", kernel_file, "-o", out),
            ("compute", path, "-k", "myrtle5", "-o", out),
            ("compute", path, "-k", kernel_file, "-o", out, "--block-size", 3),
            ("compute", path, "-k", kernel_file, "-o", out, "--precision", "float64"),
            ("compute", path, "--other", path, "-k", kernel_file, "-o", out),
        ):
            result = gramserve(*words, "--json")
            assert result.exit_code == 8, result.stderr
            assert json.loads(result.stdout)["code"] == "store_mismatch"
            assert not (tmp_path / "g.zarr.work").exists()
        np.testing.assert_array_equal(zarr.open_array(out, mode="r")[:], before)

    def test_an_array_and_a_group_do_not_mix(self, tmp_path):
        np.save(tmp_path / "x.npy", np.ones((3, 4)))
        single, both = tmp_path / "single.zarr", tmp_path / "both.zarr"
        for kernel, out in (("fc", single), (json.dumps(BOTH), both)):
            assert gramserve("compute", tmp_path / "x.npy", "-k", kernel, "-o", out).exit_code == 0
        for kernel, out in (("fc", both), (json.dumps(BOTH), single), ("fc", tmp_path)):
            result = gramserve("compute", tmp_path / "x.npy", "-k", kernel, "-o", out)
            assert result.exit_code == 8
            assert result.stderr.count(str(out)) >= 1

    @pytest.mark.parametrize("place", ["file", "file/below"])
    def test_a_file_in_the_way_is_named(self, images, kernel_file, tmp_path, place):
        (tmp_path / "file").write_text("mine")
        result = gramserve("compute", images[0], "-k", kernel_file, "-o", tmp_path / place)
        assert result.exit_code == 8
        assert "is a file" in result.stderr
        assert "Traceback" not in result.stderr
        assert (tmp_path / "file").read_text() == "mine"
        assert not (tmp_path / "file.work").exists()


class TestBadInput:
    """Each with its exit code, its message, and nothing left behind."""

    @pytest.fixture
    def refused(self, tmp_path):
        def run(array, *words, kernel="myrtle5", allow_pickle=False):
            np.save(tmp_path / "bad.npy", array, allow_pickle=allow_pickle)
            command = ("compute", tmp_path / "bad.npy", "-k", kernel, "-o", tmp_path / "g.zarr")
            result = gramserve(*command, *words, "--json")
            assert "Traceback" not in result.stderr
            assert not (tmp_path / "g.zarr").exists()
            assert not (tmp_path / "g.zarr.work").exists()
            problem = json.loads(result.stdout)
            assert problem["exit_code"] == result.exit_code
            return result.exit_code, problem["code"], result.stderr

        return run

    def test_nan(self, refused):
        images = np.ones((4, 8, 8, 3))
        images[2, 0, 0, 0] = np.nan
        code, name, message = refused(images)
        assert (code, name) == (3, "invalid_data")
        assert "item 2" in message

    def test_objects(self, refused):
        code, name, message = refused(np.array([[1], [{}]], dtype=object), allow_pickle=True)
        assert (code, name) == (3, "unsupported_dtype")
        assert "objects" in message

    def test_complex_numbers(self, refused):
        assert refused(np.ones((4, 8, 8, 3), complex))[:2] == (3, "unsupported_dtype")

    def test_a_stack_of_grey_images(self, refused):
        code, name, message = refused(np.ones((4, 8, 8)))
        assert (code, name) == (3, "shape")
        assert "[..., None]" in message

    def test_no_items(self, refused):
        assert refused(np.ones((0, 8, 8, 3)))[:2] == (3, "invalid_data")

    def test_unknown_preset(self, refused):
        code, name, message = refused(np.ones((4, 8, 8, 3)), kernel="mirtle5")
        assert (code, name) == (3, "unknown_layer")
        assert "myrtle5" in message

    def test_a_spec_with_several_faults(self, refused):
        kernel = {"layers": [{"type": "conv", "sze": 3}, {"type": "rleu"}]}
        code, _, message = refused(np.ones((4, 8, 8, 3)), kernel=json.dumps(kernel))
        assert code == 3
        assert "'size'" in message
        assert "'relu'" in message

    def test_block_size_0(self, refused):
        code, _, message = refused(np.ones((4, 8, 8, 3)), "--block-size", 0)
        assert code == 3
        assert "at least 1" in message

    def test_too_little_memory(self, refused, monkeypatch):
        monkeypatch.setenv("GRAMSERVE_WORKER_MEMORY_BYTES", str(2**20))
        code, name, message = refused(np.ones((4, 32, 32, 3)))
        assert (code, name) == (3, "memory_budget")
        assert "1.0 MiB" in message

    def test_a_bad_setting(self, refused, monkeypatch):
        monkeypatch.setenv("GRAMSERVE_PORT", "many")
        code, _, message = refused(np.ones((4, 8, 8, 3)))
        assert code == 3
        assert "GRAMSERVE_PORT" in message

    def test_an_engine_that_is_not_there(self, refused, monkeypatch):
        monkeypatch.setattr(ENGINES["cuda"], "missing", lambda: "there is no card")
        code, name, _ = refused(np.ones((4, 8, 8, 3)), "--engine", "cuda")
        assert (code, name) == (3, "engine_unavailable")

    def test_a_truncated_file(self, tmp_path):
        np.save(tmp_path / "x.npy", np.ones((40, 8, 8, 3)))
        (tmp_path / "cut.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-1])
        result = gramserve(
            "compute", tmp_path / "cut.npy", "-k", "myrtle5", "-o", tmp_path / "g.zarr"
        )
        assert result.exit_code == 3
        assert "truncated" in result.stderr

    def test_a_missing_file_is_misuse(self, tmp_path):
        result = gramserve("compute", tmp_path / "none.npy", "-k", "fc", "-o", tmp_path / "g")
        assert result.exit_code == 2
        assert "none.npy" in result.stderr


class TestPlan:
    def test_here(self, images, kernel_file):
        answer = data_of(
            gramserve("plan", images[0], "-k", kernel_file, "--block-size", 8, "--json")
        )
        assert answer["shape"] == [20, 20]
        assert answer["blocks"] == {"total": 6, "cached": 0, "adoptable": 0, "to_compute": 6}
        assert answer["engine"] == "cpu"
        assert [layer["type"] for layer in answer["layers"]][:3] == ["input", "conv", "relu"]

    def test_for_people(self, images, kernel_file):
        result = gramserve("plan", images[0], "-k", kernel_file)
        assert result.exit_code == 0
        assert "20 x 20" in result.stdout

    def test_of_nothing_is_misuse(self):
        result = gramserve("plan", "-k", "fc")
        assert result.exit_code == 2
        assert "--dataset" in result.stderr


class TestProcess:
    """As a shell sees it."""

    def run(self, *words):
        return subprocess.run(
            [sys.executable, "-m", "gramserve", *words],
            capture_output=True,
            text=True,
            check=False,
            env=child_environment(GRAMSERVE_URL="http://127.0.0.1:1"),
        )

    def test_help_and_version(self):
        done = self.run("--help")
        assert done.returncode == 0
        for command in ("compute", "serve", "plan", "submit", "status", "rows", "cancel", "demo"):
            assert command in done.stdout
        assert "Exit codes" in done.stdout
        assert self.run("version").stdout == f"gramserve {gs.__version__}\n"
        assert json.loads(self.run("version", "--json").stdout)["gramserve"] == gs.__version__

    def test_a_wrong_command_names_the_nearest(self):
        done = self.run("comput")
        assert done.returncode == 2
        assert "'compute'" in done.stderr
        assert done.stdout == ""

    def test_nobody_there_is_7(self):
        done = self.run("status", "--json")
        assert done.returncode == 7
        assert "gramserve serve" in done.stderr
        assert json.loads(done.stdout)["code"] == "service_unreachable"

    def test_engines(self):
        found = json.loads(self.run("engines", "--json").stdout)
        assert "reference" in [engine["name"] for engine in found if engine["available"]]

    def test_engines_are_compiled_beforehand(self):
        done = self.run("engines", "--warm")
        assert "cpu: ready after" in done.stderr
        assert done.stdout.startswith("engine")

    def test_no_catalog_is_4(self, tmp_path):
        done = self.run("keys", "list", "--data-dir", str(tmp_path / "none"))
        assert done.returncode == 4
        assert not (tmp_path / "none").exists()


def test_blocks_that_overflow_are_6_and_named(tmp_path):
    np.save(tmp_path / "x.npy", np.eye(6) + 1)
    result = gramserve(
        "compute",
        tmp_path / "x.npy",
        "-k",
        OVERFLOW,
        "-o",
        tmp_path / "g.zarr",
        "--block-size",
        2,
        "--json",
    )
    assert result.exit_code == 6
    problem = json.loads(result.stdout)
    assert problem["code"] == "non_finite_kernel"
    assert len(problem["context"]["blocks"]) == 6
    assert "and 1 more" in result.stderr
    assert "run the same command again" in result.stderr
