"""Blocks taken over from other matrices, step by step."""

import numpy as np
import pytest
from service_app import KERNEL, running_service, small_images

import gramserve as gs
from gramserve.errors import StorageFullError
from gramserve.service import adopter
from gramserve.service.routes import jobs
from gramserve.spec import parse_job
from gramserve.store import BlockSource, GramStore

IMAGES = small_images(40)


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch):
    monkeypatch.setattr(adopter, "_BATCH", 2)


async def planned_for(service, dataset, **asked):
    request, spec = parse_job({"dataset": dataset, "kernel": KERNEL, "block_size": 8, **asked})
    planned = await service.state.dispatcher.planner.plan_request(request, spec)
    await service.state.dispatcher.planner.record(planned)
    return planned


async def test_an_interrupted_adoption_goes_on_where_it_was(tmp_path):
    async with running_service(tmp_path) as service:
        await service.compute(IMAGES[:24])
        planner = service.state.dispatcher.planner
        planned = await planned_for(service, await service.upload(IMAGES[:32]))
        answers = iter([False, True])
        assert await planner.adopt(planned, lambda: next(answers)) == 2
        assert await planner.adopt(planned) == 4
        assert await planner.adopt(planned) == 0
        (gram,) = planned.grams.values()
        records = await service.state.catalog.blocks(gram)
        assert len(records) == 6
        assert all(record.adopted_from for record in records)


async def test_large_adoptions_are_done_by_the_job(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "_ADOPTED_BYTES", 0)
    async with running_service(tmp_path) as service:
        await service.compute(IMAGES[:32])
        job = await service.submit(await service.upload(IMAGES[:24]))
        assert job["state"] == "queued"
        assert job["blocks"] == {"total": 6, "done": 0, "reused": 0, "failed": 0}
        done = await service.until(job, "succeeded", "failed")
        assert done["blocks"] == {"total": 6, "done": 6, "reused": 6, "failed": 0}
        computed = [
            b for b in await service.state.catalog.blocks(job["gram"]) if not b.adopted_from
        ]
        assert computed == []


async def test_blocks_come_from_several_matrices_and_the_second_helps_out(tmp_path):
    async with running_service(tmp_path) as service:
        first = await service.compute(IMAGES[:16])
        turned = await service.upload(IMAGES[:16][::-1])
        second = await service.submit(turned, status=200)
        await service.compute(IMAGES[16:40])
        # The first matrix has lost a block since it was planned; the reversed one still has it.
        GramStore.open(service.state.layout.gram(first["gram"])).drop_block(0, 1)
        planned = await planned_for(service, await service.upload(IMAGES))
        assert planned.plan.blocks_adoptable == 3 + 6
        assert await service.state.dispatcher.planner.adopt(planned) == 9
        (gram,) = planned.grams.values()
        origins = {
            (one.i, one.j): one.adopted_from["gram"]
            for one in await service.state.catalog.blocks(gram)
        }
        assert origins[0, 1] == second["gram"]
        stored = GramStore.open(service.state.layout.gram(gram))
        truth = gs.compute_gram(IMAGES, kernel=KERNEL)
        np.testing.assert_allclose(stored.read_block(0, 1), truth[:8, 8:16], rtol=2e-5)


async def test_a_source_that_cannot_be_read_is_left_out(tmp_path):
    async with running_service(tmp_path) as service:
        gram = (await service.compute(IMAGES[:16]))["gram"]
        state = service.state
        await state.catalog.record_dataset(
            "e" * 64, shape=(16, 10, 10, 1), dtype="uint8", items=16, bytes=1600
        )
        record = await state.catalog.gram(gram)
        await state.catalog.record_gram(
            "9" * 32,
            kernel=record.kernel,
            spec=record.spec,
            precision=record.precision,
            dataset="e" * 64,  # recorded, but its items are gone
            rows=16,
            columns=16,
            block_size=8,
            symmetric=True,
            dtype="float32",
            path="nowhere",
            blocks_total=3,
            kernel_address=record.kernel_address,
        )
        planned = await planned_for(service, await service.upload(IMAGES[:24]))
        assert planned.plan.blocks_adoptable == 3
        assert await state.dispatcher.planner.adopt(planned) == 3


async def test_a_full_disk_ends_an_adoption_and_what_was_taken_is_recorded(tmp_path, monkeypatch):
    async with running_service(tmp_path) as service:
        await service.compute(IMAGES[:24])
        planner = service.state.dispatcher.planner
        planned = await planned_for(service, await service.upload(IMAGES[:32]))
        take, taken = BlockSource.take, []

        def fill_up(source, target, block):
            if len(taken) == 3:
                raise StorageFullError("no space left")
            taken.append(block)
            return take(source, target, block)

        monkeypatch.setattr(BlockSource, "take", fill_up)
        with pytest.raises(StorageFullError):
            await planner.adopt(planned)
        (gram,) = planned.grams.values()
        assert len(await service.state.catalog.blocks(gram)) == 3
        monkeypatch.undo()
        assert await planner.adopt(planned) == 3
