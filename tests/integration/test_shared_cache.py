"""No block twice: data sets that grow, splits, other cuts and a lost catalog, over HTTP."""

import numpy as np
import pytest
from service_app import KERNEL, running_service, small_images

import gramserve as gs
from gramserve.store import GramStore

IMAGES = small_images(48)


async def plan(service, dataset, **asked):
    body = {"dataset": dataset, "kernel": KERNEL, "block_size": 8, **asked}
    answer = await service.http.post("/v1/plans", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["blocks"]


async def ask(service, rows, columns=None, **asked):
    """Ask for a matrix; return its job, after checking the plan and the numbers."""
    dataset = await service.upload(rows)
    other = None if columns is None else await service.upload(columns)
    asked = {"other": other, **asked}
    planned = await plan(service, dataset, **asked)
    body = {"dataset": dataset, "kernel": KERNEL, "block_size": 8, **asked}
    answer = await service.http.post("/v1/jobs", json=body)
    assert answer.status_code in {200, 202}, answer.text
    assert (answer.status_code == 200) == (planned["to_compute"] == 0)
    job = await service.until(answer.json(), "succeeded", "failed")
    assert job["state"] == "succeeded", job
    assert job["blocks"]["reused"] == planned["cached"], (job, planned)
    assert job["blocks"]["total"] - job["blocks"]["reused"] == planned["to_compute"]
    truth = gs.compute_gram(rows, columns, kernel=KERNEL)
    np.testing.assert_allclose(await service.rows(job["gram"]), truth, rtol=2e-5)
    return job


def counts(job):
    return job["blocks"]["total"], job["blocks"]["total"] - job["blocks"]["reused"]


async def test_a_data_set_that_grows_computes_only_its_new_blocks(tmp_path):
    async with running_service(tmp_path) as service:
        assert counts(await ask(service, IMAGES[:20])) == (6, 6)
        # Panels of 8: two whole ones are known, the third was cut short at 20.
        assert counts(await ask(service, IMAGES[:32])) == (10, 10 - 3)
        assert counts(await ask(service, IMAGES[:40])) == (15, 15 - 10)
        # The larger one holds it all: nothing is computed, although it is cut elsewhere.
        assert counts(await ask(service, IMAGES[5:25])) == (6, 0)


async def test_splits_of_the_same_items_share_in_every_direction(tmp_path):
    train, test = IMAGES[:24], IMAGES[24:40]
    async with running_service(tmp_path) as service:
        assert counts(await ask(service, train)) == (6, 6)
        assert counts(await ask(service, train, test)) == (6, 6)
        assert counts(await ask(service, test, train)) == (6, 0)
        # All but the blocks between test images is known by now.
        assert counts(await ask(service, IMAGES[:40])) == (15, 3)
        assert counts(await ask(service, test)) == (3, 0)
        assert counts(await ask(service, train[::-1], test)) == (6, 0)
        assert counts(await ask(service, train, train)) == (9, 0)


async def test_another_block_size_is_served_from_stored_values(tmp_path):
    async with running_service(tmp_path) as service:
        first = await ask(service, IMAGES[:40])
        for size in (5, 16, 40):
            job = await ask(service, IMAGES[:40], block_size=size)
            assert counts(job)[1] == 0
            assert job["gram"] != first["gram"]
            rows = await service.rows(job["gram"])
            np.testing.assert_array_equal(rows, await service.rows(first["gram"]))


async def test_other_kernels_and_precisions_share_nothing_but_pairs_of_kernels_do(tmp_path):
    async with running_service(tmp_path) as service:
        await ask(service, IMAGES[:16])
        dataset = await service.upload(IMAGES[:24])
        deeper = await plan(service, dataset, kernel={"preset": "cntk", "depth": 4})
        assert deeper["cached"] == 0
        assert (await plan(service, dataset, precision="float64"))["cached"] == 0
        both = {**gs.parse_kernel(KERNEL).canonical(), "kernel": ["nngp", "ntk"]}
        # The tangent kernel of three blocks is known, the other kernel of none.
        assert (await plan(service, dataset, kernel=both))["cached"] == 0
        job = await service.submit(dataset, kernel=both)
        await service.until(job, "succeeded")
        ntk = await service.state.catalog.blocks(job["grams"]["ntk"])
        assert sum(block.adopted_from is not None for block in ntk) == 3
        single = await plan(service, dataset, kernel={**both, "kernel": "nngp"}, block_size=6)
        assert single["to_compute"] == 0


async def test_adopted_blocks_keep_their_maker_and_occupy_the_disk_once(tmp_path):
    async with running_service(tmp_path) as service:
        first = await ask(service, IMAGES[:16])
        second = await ask(service, IMAGES[:24])
        made = {(b.i, b.j): b for b in await service.state.catalog.blocks(first["gram"])}
        for block in await service.state.catalog.blocks(second["gram"]):
            maker = made.get((block.i, block.j))
            if maker is None:
                assert block.adopted_from is None
                continue
            assert block.adopted_from == {"gram": first["gram"], "blocks": [[block.i, block.j]]}
            assert (block.seconds, block.worker) == (maker.seconds, maker.worker)
            assert (block.address, block.checksum) == (maker.address, maker.checksum)
        stores = [(await service.state.grams.get(job["gram"])).store for job in (first, second)]
        assert stores[0].object_path(1, 0).samefile(stores[1].object_path(1, 0))


@pytest.mark.parametrize("how", ["flipped", "short", "empty"])
async def test_a_damaged_source_is_not_taken_over_and_is_made_anew(tmp_path, how):
    async with running_service(tmp_path) as service:
        first = await ask(service, IMAGES[:16])
        store = GramStore.open(service.state.layout.gram(first["gram"]))
        path = store.object_path(0, 1)
        content = bytearray(path.read_bytes())
        content[10] ^= 4
        path.write_bytes({"flipped": content, "short": content[:-9], "empty": b""}[how])
        dataset = await service.upload(IMAGES[:24])
        job = await service.submit(dataset)
        body = await service.until(job, "succeeded", "failed")
        assert (body["state"], body["blocks"]["reused"]) == ("succeeded", 2)
        truth = gs.compute_gram(IMAGES[:24], kernel=KERNEL)
        np.testing.assert_allclose(await service.rows(job["gram"]), truth, rtol=2e-5)
        # The owner lost the block, says so, and has it again without computing.
        report = (await service.http.get(f"/v1/grams/{first['gram']}")).json()
        assert (report["complete"], report["blocks"]["done"]) == (False, 2)
        again = await ask(service, IMAGES[:16])
        assert again["gram"] == first["gram"]
        assert counts(again)[1] == 0


async def test_matrices_are_found_again_when_the_catalog_is_lost(tmp_path):
    async with running_service(tmp_path) as service:
        first = await ask(service, IMAGES[:24])
    for path in (tmp_path / "state").glob("catalog.sqlite*"):
        path.unlink()
    async with running_service(tmp_path) as service:
        listed = (await service.http.get("/v1/grams")).json()["grams"]
        assert [gram["id"] for gram in listed] == [first["gram"]]
        assert listed[0]["complete"]
        assert counts(await ask(service, IMAGES[:32])) == (10, 10 - 6)
