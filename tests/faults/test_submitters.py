"""Eight clients at once, who ask for the same and for overlapping things."""

import random
import threading

import numpy as np
from talk import Talk

import gramserve as gs

CLIENTS = 8
BLOCK, COUNT = 4, 16
BLOCKS = 10


def kernel(*names):
    spec = {"layers": [{"type": "dense"}, {"type": "relu"}, {"type": "dense"}]}
    return {**spec, "kernel": names[0] if len(names) == 1 else list(names)}


def items(seed):
    return np.random.default_rng(seed).standard_normal((COUNT, 6)).astype("f4")


def test_each_block_is_computed_exactly_once(faulty, table):
    table.pause(0.01)
    before = table.computed()
    sets = [items(10), items(11)]
    kernels = [kernel("nngp"), kernel("ntk"), kernel("nngp", "ntk")]
    wanted = [(x, spec) for x in sets for spec in kernels]
    start, bodies, faults = threading.Barrier(CLIENTS), [], []

    def ask(number):
        order = random.Random(number).sample(wanted, len(wanted))
        try:
            with Talk(faulty) as talk:
                start.wait()
                jobs = [
                    talk.submit(talk.upload(x), kernel=spec, block_size=BLOCK) for x, spec in order
                ]
                bodies.extend(talk.wait(job) for job in jobs)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert len(bodies) == CLIENTS * len(wanted)
    assert {body["state"] for body in bodies} == {"succeeded"}
    computed = table.computed() - before
    grams = {gram for body in bodies for gram in body["grams"].values()}
    assert len(grams) == 4
    assert {gram for gram, _ in computed} == grams
    assert len(computed) == 4 * BLOCKS
    assert set(computed.values()) == {1}
    with Talk(faulty) as talk:
        for body in bodies:
            x = next(x for x in sets if talk.upload(x) == body["dataset"])
            for name, gram in body["grams"].items():
                expected = gs.compute_gram(x, kernel=kernel(name), engine="reference")
                np.testing.assert_allclose(talk.rows(gram), expected, rtol=1e-5)


def test_jobs_on_data_that_overlap_share_blocks_while_both_run(faulty, table):
    """Each asks for another matrix; a panel of items that both have is compared once."""
    table.pause(0.05)
    before = table.computed()
    everything = items(12)
    parts = [everything, everything[: 3 * BLOCK], everything[BLOCK:], everything[::-1].copy()]
    start, bodies, faults = threading.Barrier(len(parts)), [], []

    def ask(x):
        try:
            with Talk(faulty) as talk:
                dataset = talk.upload(x)
                start.wait()
                job = talk.submit(dataset, kernel=kernel("ntk"), block_size=BLOCK)
                bodies.append((x, talk.wait(job)))
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=ask, args=(x,)) for x in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert {body["state"] for _, body in bodies} == {"succeeded"}
    computed = table.computed() - before
    # All are parts of the first, whichever of them came first: ten pairs of panels in all.
    assert sum(computed.values()) == BLOCKS, computed
    assert sum(body["blocks"]["reused"] for _, body in bodies) == 10 + 6 + 6 + 10 - BLOCKS
    with Talk(faulty) as talk:
        for x, body in bodies:
            expected = gs.compute_gram(x, kernel=kernel("ntk"), engine="reference")
            np.testing.assert_allclose(talk.rows(body["gram"]), expected, rtol=1e-5)
