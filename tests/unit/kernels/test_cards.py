"""The CUDA engine among the others: chosen, refused, described, and cut to a small device."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from cuda_shim import ShimDevice
from gram_work import KERNEL, images, make_work, read_grams
from strict_arrays import StrictDevice

from gramserve.arrays import OwnCard
from gramserve.arrays.inventory import visible_tokens
from gramserve.blocks import LoopExecutor, Policy, Scheduler
from gramserve.compute import compute_gram
from gramserve.errors import (
    DeviceLostError,
    DeviceMemoryError,
    EngineUnavailableError,
    NonFiniteKernelError,
)
from gramserve.kernels import (
    ENGINES,
    Items,
    choose_engine,
    describe_engines,
    item_keys,
    make_engines,
    warm_engines,
)
from gramserve.kernels.cuda import CudaEngine
from gramserve.kernels.cuda.parts import Need, Part, cut_parts
from gramserve.plan import choose_block_size
from gramserve.spec import parse_kernel

SPEC = parse_kernel(KERNEL)
FAST = Policy(backoff_s=0.01, outage_wait_s=0.05)


@pytest.fixture(scope="module")
def engines():
    """Engines of a process with a card, which is the CPU; what is compiled for it is kept."""
    return make_engines(OwnCard(ShimDevice()))


@pytest.fixture
def with_card(monkeypatch, engines):
    for name, engine in engines.items():
        monkeypatch.setitem(ENGINES, name, engine)


@pytest.fixture
def without_card(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    for name, engine in make_engines().items():
        monkeypatch.setitem(ENGINES, name, engine)


def items(engine, values, spec=SPEC):
    variances = engine.variances(spec, values, "float32", memory_bytes=2**30)
    return Items(values, variances, item_keys(values))


def grams(engine, x, y, spec=SPEC, memory_bytes=2**30):
    sides = items(engine, x, spec), items(engine, y, spec)
    return engine.evaluate(spec, *sides, "float32", memory_bytes=memory_bytes)


def agree(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert np.abs(found[name] - values).max() <= 2e-6 * np.abs(values).max()


def test_importing_the_engines_looks_for_no_card():
    code = (
        "import sys, gramserve.kernels as k; assert 'cupy' not in sys.modules;"
        "assert k.ENGINES['cuda']._own._found is None"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.usefixtures("without_card")
def test_without_a_card_its_engine_says_what_to_install_and_the_others_go_on():
    with pytest.raises(EngineUnavailableError, match=r"gramserve\[cuda\].*or use engine \"auto\""):
        choose_engine(SPEC, "float32", "cuda")
    engine, why = choose_engine(SPEC, "float32")
    assert engine.name == "cpu"
    assert "cuda" not in why
    described = {entry["name"]: entry for entry in describe_engines()}
    assert list(described) == ["cuda", "cpu", "reference", "finite"]
    cuda = described["cuda"]
    assert (cuda["available"], cuda["device"]) == (False, None)
    assert "pip install" in cuda["why"]
    assert described["reference"]["device"] == "cpu"
    with pytest.raises(EngineUnavailableError, match="CuPy"):
        CudaEngine().evaluate(SPEC, *[items(ENGINES["cpu"], images(1))] * 2, "float32",
                              memory_bytes=2**30)  # fmt: skip


def test_a_card_is_looked_for_once(monkeypatch):
    asked = []
    monkeypatch.setattr("gramserve.arrays.own_card.cuda_unavailable", lambda: asked.append(1))
    card = OwnCard()
    assert [card.missing(), card.missing()] == [None, None]
    assert len(asked) == 1


@pytest.mark.usefixtures("with_card")
def test_with_a_card_its_engine_is_the_first_choice():
    engine, why = choose_engine(SPEC, "mixed")
    assert engine is ENGINES["cuda"]
    assert why.startswith("cuda is the fastest")
    assert choose_engine(SPEC, "float32", "cuda")[0] is engine
    described = {entry["name"]: entry for entry in describe_engines()}
    cuda = described["cuda"]
    assert (cuda["available"], cuda["device"], cuda["why"]) == (True, "CPU", ENGINES["cuda"].about)


@pytest.mark.usefixtures("with_card")
def test_what_a_card_refuses_is_named_and_goes_to_the_next_engine():
    numeric = parse_kernel({"layers": [{"type": "numeric", "function": "tanh"}]})
    with pytest.raises(EngineUnavailableError, match=r"\"cuda\" does not.*layers\[0\] \(numeric\)"):
        choose_engine(numeric, "float32", "cuda")
    engine, why = choose_engine(numeric, "float32")
    assert engine.name == "cpu"
    assert "cuda: layers[0] (numeric)" in why
    conv = {"type": "conv", "size": 3}
    centred = parse_kernel({"layers": [conv, {"type": "center"}, {"type": "flatten"}]})
    engine, why = choose_engine(centred, "float32")
    assert engine.name == "reference"
    assert "cuda: layers[1] (center)" in why
    assert "cpu: layers[1] (center)" in why


def test_the_reference_engine_of_a_process_with_a_card_computes_there():
    device = StrictDevice()
    engine = make_engines(OwnCard(device))["reference"]
    spec = parse_kernel({"layers": [{"type": "center"}, {"type": "flatten"}]})
    agree(grams(engine, images(3), images(2, seed=1), spec),
          grams(ENGINES["reference"], images(3), images(2, seed=1), spec))  # fmt: skip
    assert device.uploads


@pytest.mark.usefixtures("without_card")
def test_only_engines_that_are_there_are_warmed(monkeypatch):
    monkeypatch.setattr("gramserve.kernels.cpu.CpuEngine.warm", lambda _: None)
    assert set(warm_engines()) == {"cpu", "reference", "finite"}


def test_cards_are_named_as_the_environment_names_them(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_tokens(2) == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-4ab,MIG-9")
    assert visible_tokens(2) == ["2", "GPU-4ab"]


def test_a_forked_process_does_not_touch_the_card(monkeypatch):
    card = OwnCard(ShimDevice())
    assert card.missing() is None
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(EngineUnavailableError, match="spawn"):
        card.device()


def pairs_of(parts, shape):
    count = np.zeros(shape, int)
    for part in parts:
        count[part.rows, part.columns] += (
            np.triu(np.ones(part.shape, int)) if part.is_diagonal else 1
        )
    return count


@pytest.mark.parametrize("room", [1, 20, 60, 200, 10**6])
@pytest.mark.parametrize("shape", [(7, 7), (1, 9), (13, 4)])
def test_parts_cover_a_block_once(shape, room):
    need = Need(row=3, column=5, pair=1, room=room)
    whole = Part(slice(0, shape[0]), slice(0, shape[1]))
    parts = list(cut_parts(whole, need, Need(0, 0, 1, 30)))
    assert (pairs_of(parts, shape) == 1).all()
    assert all(need.admits(part) or part.shape == (1, 1) for part in parts)
    assert max(part.shape[0] * part.shape[1] for part in parts) <= 30
    if shape[0] == shape[1]:
        square = Part(whole.rows, whole.columns, is_diagonal=True)
        count = pairs_of(cut_parts(square, need), shape)
        assert np.array_equal(count, np.triu(np.ones(shape, int)))


def test_a_block_that_is_too_large_for_the_device_is_cut():
    x, y = images(6), images(5, seed=1)
    y[2] = x[3]
    small, plenty = ShimDevice(memory_bytes=2**17), ShimDevice()
    for other in (y, x):
        found = grams(CudaEngine(small), x, other)
        agree(found, grams(ENGINES["cpu"], x, other))
        if other is x:
            assert all(np.array_equal(gram, gram.T) for gram in found.values())
    grams(CudaEngine(plenty), x, x)
    assert len(small.launches) > 2 * len(plenty.launches)
    assert small.memory.most_used <= 2**17


def test_the_host_memory_allowed_bounds_a_part(engines):
    device, x = engines["cuda"]._own.device(), images(4)
    device.launches.clear()
    whole = grams(engines["cuda"], x, x)
    once = len(device.launches)
    agree(grams(engines["cuda"], x, x, memory_bytes=2**15), whole)
    assert len(device.launches) > 3 * once


def test_a_device_with_hardly_any_memory_is_an_error_that_may_pass():
    with pytest.raises(DeviceMemoryError) as caught:
        grams(CudaEngine(ShimDevice(memory_bytes=2**11)), images(2), images(2, seed=1))
    assert caught.value.retryable


def test_a_bad_pair_is_named_by_its_place_in_the_block():
    spec = parse_kernel({"layers": [{"type": "dense", "w_std": 1e15}, {"type": "dense"}]})
    x = np.full((3, 2), 1e-20, np.float32)
    x[2] = 1e10
    with pytest.raises(NonFiniteKernelError) as caught:
        grams(CudaEngine(ShimDevice()), x, x, spec, memory_bytes=2000)
    assert caught.value.context["pair"] == [2, 2]


def test_threads_of_a_process_take_turns(engines):
    x, found = images(4), {}

    def work(number):
        found[number] = grams(engines["cuda"], x, x[: number + 1])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, values in found.items():
        agree(values, grams(ENGINES["cpu"], x, x[: number + 1]))
    assert len(found) == 3


@pytest.mark.usefixtures("with_card")
def test_blocks_of_a_job_are_computed_on_the_card_and_say_so(tmp_path):
    x, seen = images(6), []
    work = make_work(tmp_path, x)
    assert work.recipe.engine == "cuda"
    outcome = Scheduler(LoopExecutor(), policy=FAST).run(work, lambda p: seen.extend(p.results))
    assert outcome.is_complete
    assert {(result.engine, result.device) for result in seen} == {("cuda", "CPU")}
    agree(read_grams(work), compute_gram(x, kernel=KERNEL, engine="cpu"))


@pytest.mark.usefixtures("with_card")
def test_memory_that_is_short_on_the_card_fails_a_block_as_what_may_be_tried_again(
    tmp_path, monkeypatch
):
    monkeypatch.setitem(ENGINES, "cuda", CudaEngine(ShimDevice(memory_bytes=2**11)))
    outcome = Scheduler(LoopExecutor(), policy=FAST).run(make_work(tmp_path, images(3)))
    assert not outcome.is_complete
    (failure,) = {(each.code, each.retryable) for each in outcome.failed.values()}
    assert failure == ("device_memory", True)


@pytest.mark.usefixtures("with_card")
def test_kernels_of_augmented_images_are_averaged_on_the_card():
    kernel = {**KERNEL, "augment": "flips"}
    x = images(3)
    engine, _ = choose_engine(parse_kernel(kernel), "float32")
    assert (engine.name, engine.device) == ("cuda", "CPU")
    agree(compute_gram(x, kernel=kernel), compute_gram(x, kernel=kernel, engine="cpu"))


def test_blocks_for_a_card_are_larger():
    fc, myrtle = parse_kernel("fc"), parse_kernel("myrtle10")
    assert choose_block_size(fc, (784,), "cuda") == 4096
    dear = [choose_block_size(myrtle, (32, 32, 3), engine) for engine in ("cuda", "cpu")]
    assert dear[0] >= 8 * dear[1]


@pytest.mark.usefixtures("with_card")
def test_a_card_that_is_lost_ends_the_task_and_not_only_its_block(tmp_path, monkeypatch):
    class Lost(ShimDevice):
        def upload(self, values, stream):
            raise DeviceLostError("an illegal address was read: start it again")

    monkeypatch.setitem(ENGINES, "cuda", CudaEngine(Lost()))
    outcome = Scheduler(LoopExecutor(), policy=FAST).run(make_work(tmp_path, images(3)))
    assert {each.code for each in outcome.failed.values()} == {"device_lost"}
