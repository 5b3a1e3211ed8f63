"""Administration of the shared cache over HTTP: sizes, pins, eviction, verification, audits."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from service_app import KERNEL, array_of, problem, running_service, small_images

import gramserve as gs
from gramserve.service import census
from gramserve.store import GramStore

IMAGES = small_images(40)
LONG_AGO = datetime.now(UTC) - timedelta(hours=3)


async def get(service, path, status=200, **params):
    answer = await service.http.get(path, params=params)
    assert answer.status_code == status, answer.text
    return answer.json()


async def post(service, path, status=200, **body):
    answer = await service.http.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


async def rest(service, *grams):
    """Let matrices look as if nobody had used them for hours, the first one longest."""
    await service.state.usage.write()
    for number, gram in enumerate(grams):
        at = LONG_AGO + timedelta(minutes=number)
        await service.state.catalog.record_use({gram: 0}, at)


async def until_done(service, path):
    async with asyncio.timeout(60):
        while (body := await get(service, path))["state"] == "running":
            await asyncio.sleep(0.01)
    return body


async def small_key(service, name, scope):
    made = await post(service, "/v1/keys", 201, name=name, scopes=[scope])
    return {"Authorization": f"Bearer {made['secret']}"}


async def test_sizes_hits_and_use_are_told_by_matrix_kernel_and_user(tmp_path):
    async with running_service(tmp_path) as service:
        first = (await service.compute(IMAGES[:24]))["gram"]
        second = (await service.compute(IMAGES[:32]))["gram"]
        other = (await service.compute(IMAGES[:24], kernel={"preset": "cntk", "depth": 4}))["gram"]
        await service.rows(first, start=3, stop=8)
        await service.rows(first, start=0, stop=1)
        body = await get(service, "/v1/cache")
        entries = {entry["id"]: entry for entry in body["entries"]}
        assert set(entries) == {first, second, other}
        assert (entries[first]["rows_served"], entries[second]["rows_served"]) == (6, 0)
        assert entries[first]["users"] == ["first admin key"]
        assert "used within" in entries[first]["in_use"]
        # Six blocks of the first are nine files, which the second names too.
        linked = entries[first]["bytes"] - entries[first]["freed_bytes"]
        sizes = [path.stat().st_blocks * 512 for path in _objects(service, first)]
        assert linked == sum(sizes)
        assert body["bytes"] == sum(entry["bytes"] for entry in entries.values()) - linked
        assert [use["grams"] for use in body["kernels"]] == [2, 1]
        assert sum(use["bytes"] for use in body["kernels"]) == body["bytes"]
        assert (body["blocks_asked"], body["blocks_reused"]) == (6 + 10 + 6, 6)
        assert body["hit_rate"] == pytest.approx(6 / 22)
        (user,) = body["users"]
        assert (user["name"], user["jobs"], user["grams"]) == ("first admin key", 3, 3)
        assert (user["bytes"], user["blocks_reused"]) == (body["bytes"], 6)


def _objects(service, gram):
    return [path for path in service.state.layout.gram(gram).glob("c/*/*") if path.is_file()]


async def test_eviction_takes_the_least_recently_used_and_spares_what_is_wanted(tmp_path):
    async with running_service(tmp_path) as service:
        kernels = [{"preset": "cntk", "depth": depth} for depth in (2, 3, 4, 5)]
        grams = [(await service.compute(IMAGES[:16], kernel=one))["gram"] for one in kernels]
        pinned, old, middle, young = grams
        await rest(service, *grams)
        answer = await service.http.put(f"/v1/grams/{pinned}/pin", json={"reason": "paper"})
        assert answer.json()["pins"][0]["reason"] == "paper"
        before = (await get(service, "/v1/cache"))["bytes"]
        goal = 6 * before // 10  # two of four matrices of about one size
        dry = await post(service, "/v1/cache:gc", max_bytes=goal)
        assert (dry["executed"], dry["reached"]) == (False, True)
        assert [step["id"] for step in dry["evicted"]] == [old, middle]
        assert dry["kept"] == [{"id": pinned, "why": "pinned by first admin key"}]
        assert (await get(service, "/v1/cache"))["bytes"] == before
        real = await post(service, "/v1/cache:gc", max_bytes=goal, execute=True)
        assert {**real, "executed": False} == dry
        after = await get(service, "/v1/cache")
        assert after["bytes"] == real["bytes_after"] <= goal
        assert {entry["id"] for entry in after["entries"]} == {pinned, young}
        problem(await service.http.get(f"/v1/grams/{old}/rows"), 404, "not_found")
        assert not service.state.layout.gram(old).exists()
        assert not list(service.state.layout.grams.glob("*.partial"))
        # Whoever asks again has it made anew.
        again = await service.compute(IMAGES[:16], kernel=kernels[1])
        assert (again["gram"], again["blocks"]["reused"]) == (old, 0)
        np.testing.assert_allclose(
            await service.rows(old), gs.compute_gram(IMAGES[:16], kernel=kernels[1]), rtol=2e-5
        )
        none_left = await post(service, "/v1/cache:gc", max_bytes=0, execute=True)
        assert not none_left["reached"]
        assert {one["id"] for one in none_left["kept"]} == {pinned, old}


async def test_shared_files_are_freed_with_their_last_matrix(tmp_path):
    async with running_service(tmp_path) as service:
        small = (await service.compute(IMAGES[:24]))["gram"]
        large = (await service.compute(IMAGES[:32]))["gram"]
        await rest(service, small, large)
        planned = await post(service, "/v1/cache:gc", max_bytes=0, execute=True)
        assert [step["id"] for step in planned["evicted"]] == [small, large]
        assert planned["evicted"][0]["bytes"] < planned["evicted"][1]["bytes"] / 4
        assert planned["bytes_after"] == 0
        assert (await get(service, "/v1/cache"))["bytes"] == 0


async def test_a_reader_keeps_what_it_has_open_and_a_live_job_its_matrix(tmp_path):
    async with running_service(tmp_path) as service:
        gram = (await service.compute(IMAGES[:24]))["gram"]
        store = GramStore.open(service.state.layout.gram(gram))
        truth = store.read()
        array = np.memmap(store.object_path(0, 0), mode="r")
        content = bytes(array)
        await rest(service, gram)
        job = await service.submit(await service.upload(IMAGES[:40]))
        kept = await post(service, "/v1/cache:gc", max_bytes=0, execute=True)
        await service.until(job, "succeeded")
        assert job["gram"] in {one["id"] for one in kept["kept"]}
        assert gram in {one["id"] for one in kept["evicted"]}
        assert bytes(array) == content
        rows = await service.rows(job["gram"])
        np.testing.assert_allclose(rows[:24, :24], truth, rtol=1e-6)


async def test_an_interrupted_eviction_leaves_nothing_or_everything(tmp_path, monkeypatch):
    async with running_service(tmp_path) as service:
        gram = (await service.compute(IMAGES[:16]))["gram"]
        await rest(service, gram)
        record = await service.state.catalog.gram(gram)
        await service.state.catalog.record_use({gram: 1})
        # It was chosen, and then somebody read a row.
        why = await service.state.evictor._evict(record)
        assert "used a moment ago" in why
        assert (await service.rows(gram)).shape == (16, 16)
        path = service.state.layout.gram(gram)
        path.rename(path.with_name("0" * 32 + ".partial"))
    async with running_service(tmp_path) as service:
        assert not list(service.state.layout.grams.iterdir())
        assert (await service.compute(IMAGES[:16]))["gram"] == gram


async def test_pins_belong_to_keys(tmp_path):
    async with running_service(tmp_path) as service:
        gram = (await service.compute(IMAGES[:16]))["gram"]
        path = f"/v1/grams/{gram}/pin"
        ada = await small_key(service, "ada", "submit")
        reader = await small_key(service, "eve", "read")
        problem(await service.http.put(path, json={}, headers=reader), 403, "access")
        await service.http.put(path, json={"reason": "mine"}, headers=ada)
        await service.http.put(path, json={})
        entry = (await get(service, "/v1/cache"))["entries"][0]
        assert {pin["name"]: pin["reason"] for pin in entry["pins"]} == {
            "ada": "mine",
            "first admin key": None,
        }
        refused = await service.http.delete(path, params={"everybody": True}, headers=ada)
        problem(refused, 403, "access")
        left = (await service.http.delete(path, headers=ada)).json()["pins"]
        assert [pin["name"] for pin in left] == ["first admin key"]
        left = (await service.http.delete(path, params={"everybody": True})).json()["pins"]
        assert left == []
        problem(await service.http.put(path, json={"why": "x"}), 422, "invalid_spec")
        for route in ("/v1/cache:gc", "/v1/cache:verify"):
            problem(await service.http.post(route, json={}, headers=ada), 403, "access")


async def test_a_verification_finds_drops_and_lets_compute_again(tmp_path):
    async with running_service(tmp_path) as service:
        problem(await service.http.get("/v1/cache/verification"), 404, "not_found")
        job = await service.compute(IMAGES[:24])
        sound = (await service.compute(IMAGES[:16], kernel={"preset": "cntk", "depth": 2}))["gram"]
        gram = job["gram"]
        store = GramStore.open(service.state.layout.gram(gram))
        for place, cut in (((0, 1), 7), ((2, 1), 0)):  # the second is a mirror
            path = store.object_path(*place)
            path.write_bytes(path.read_bytes()[:cut])
        await post(service, "/v1/cache:verify", 202, drop=False)
        found = await until_done(service, "/v1/cache/verification")
        assert (found["state"], found["grams_done"], found["blocks_checked"]) == ("done", 2, 9)
        assert [(one["gram"], one["block"], one["dropped"]) for one in found["damaged"]] == [
            (gram, [0, 1], False),
            (gram, [1, 2], False),
        ]
        assert (await get(service, f"/v1/grams/{gram}"))["complete"]
        # The sound one need not be looked at again.
        await post(service, "/v1/cache:verify", 202, max_age_s=3600)
        found = await until_done(service, "/v1/cache/verification")
        assert (found["grams_total"], found["blocks_checked"]) == (1, 6)
        assert found["blocks_damaged"] == 2
        assert all(one["dropped"] for one in found["damaged"])
        report = await get(service, f"/v1/grams/{gram}")
        assert (report["complete"], report["blocks"]["done"]) == (False, 4)
        problem(await service.http.get(f"/v1/grams/{gram}/rows"), 409, "block_missing")
        again = await service.compute(IMAGES[:24])
        assert again["blocks"] == {"total": 6, "done": 6, "reused": 4, "failed": 0}
        entries = (await get(service, "/v1/cache"))["entries"]
        assert all(entry["verified"] for entry in entries)
        assert sound in {entry["id"] for entry in entries}
        unknown = await service.http.post("/v1/cache:verify", json={"gram": "0" * 32})
        problem(unknown, 404, "not_found")


async def test_blocks_tell_how_they_came_about_page_by_page(tmp_path):
    async with running_service(tmp_path) as service:
        first = (await service.compute(IMAGES[:16]))["gram"]
        job = await service.compute(IMAGES[:24])
        path = f"/v1/grams/{job['gram']}/blocks"
        body = await get(service, path, limit=2)
        assert body["total"] == 6
        assert [block["block"] for block in body["blocks"]] == [[0, 0], [0, 1]]
        assert body["blocks"][1]["adopted_from"] == {"gram": first, "blocks": [[0, 1]]}
        last = (await get(service, path, limit=1, offset=5))["blocks"][0]
        assert (last["block"], last["state"], last["adopted_from"]) == ([2, 2], "stored", None)
        assert last["precision"] == "float32"
        assert last["engine"] in {"cpu", "reference"}
        assert last["checksum"].startswith("sha256:")
        assert last["seconds"] > 0
        assert last["worker"]
        assert len(last["address"]) == 64
        assert (await get(service, path, failed=True)) == {"total": 0, "blocks": []}


async def test_the_report_says_what_the_numbers_are_and_how_to_make_them_again(tmp_path):
    async with running_service(tmp_path) as service:
        await service.compute(IMAGES[:16])
        gram = (await service.compute(IMAGES[:24], precision="float32"))["gram"]
        body = await get(service, f"/v1/grams/{gram}/report")
        values = await service.rows(gram)
        spectrum = np.linalg.eigvalsh(values.astype(float))
        found = body["findings"]
        assert found["symmetric"] is True
        assert found["largest_value"] == np.abs(values).max()
        diagonal = np.diag(values)
        assert found["diagonal"] == {"smallest": diagonal.min(), "largest": diagonal.max()}
        assert found["spectrum"]["method"] == "exact"
        assert found["spectrum"]["smallest"] == pytest.approx(spectrum[0], abs=1e-9 * spectrum[-1])
        assert found["spectrum"]["largest"] == pytest.approx(spectrum[-1])
        made = body["provenance"]
        assert (made["blocks"], made["computed"], made["adopted"]) == (6, 3, 3)
        assert made["unrecorded"] == 0
        assert made["seconds"] == pytest.approx(sum(one["seconds"] for one in made["makers"]))
        assert body["versions"]["numpy"] == np.__version__
        again = await service.http.post("/v1/jobs", json=body["request"])
        assert again.status_code == 200
        assert again.json()["gram"] == gram
        other = await service.upload(IMAGES[8:16])
        cross = await service.submit(await service.upload(IMAGES[:8]), other=other, status=200)
        body = await get(service, f"/v1/grams/{cross['gram']}/report")
        assert body["findings"]["symmetric"] is body["findings"]["spectrum"] is None


async def test_an_audit_computes_every_kth_block_again_and_finds_wrong_numbers(tmp_path):
    async with running_service(tmp_path) as service:
        gram = (await service.compute(IMAGES[:32]))["gram"]
        problem(await service.http.get(f"/v1/grams/{gram}/audit"), 404, "not_found")
        await post(service, f"/v1/grams/{gram}:audit", 202, every=3)
        good = await until_done(service, f"/v1/grams/{gram}/audit")
        assert (good["state"], good["passed"], good["blocks_done"]) == ("done", True, 4)
        assert 0 < good["largest_difference"] < good["tolerance"]
        store = GramStore.open(service.state.layout.gram(gram))
        wrong = store.read_block(0, 3).copy()
        wrong[2, 1] *= 1.001
        store.write_block(0, 3, wrong)  # intact bytes, wrong numbers
        await post(service, f"/v1/grams/{gram}:audit", 202, every=3)
        bad = await until_done(service, f"/v1/grams/{gram}/audit")
        assert (bad["passed"], bad["failed_blocks"], bad["worst_block"]) == (
            False,
            [[0, 3]],
            [0, 3],
        )
        assert bad["largest_difference"] > 1e-4
        problem(
            await service.http.post(f"/v1/grams/{gram}:audit", json={"every": 0}),
            422,
            "invalid_spec",
        )
    async with running_service(tmp_path) as service:
        kept = await get(service, f"/v1/grams/{gram}/audit")
        assert json.dumps(kept, sort_keys=True) == json.dumps(bad, sort_keys=True)
        assert (await get(service, f"/v1/grams/{gram}/report"))["audit"] == bad


async def test_a_matrix_with_no_stored_block_cannot_be_audited_or_judged(tmp_path):
    async with running_service(tmp_path) as service:
        gram = (await service.compute(IMAGES[:8]))["gram"]
        GramStore.open(service.state.layout.gram(gram)).drop_block(0, 0)
        service.state.grams.forget(gram)
        refused = await service.http.post(f"/v1/grams/{gram}:audit", json={})
        problem(refused, 409, "block_missing")
        body = await get(service, f"/v1/grams/{gram}/report")
        assert (body["complete"], body["findings"]) == (False, None)
        assert body["request"]["kernel"] == gs.parse_kernel(KERNEL).canonical()


async def test_evictions_among_jobs_and_readers_cost_no_job_and_no_number(tmp_path, monkeypatch):
    monkeypatch.setattr(census, "BUSY_S", 0.0)
    truth = gs.compute_gram(IMAGES, kernel=KERNEL)
    async with running_service(tmp_path) as service:
        digests = {count: await service.upload(IMAGES[:count]) for count in (16, 24, 40)}
        evicted = 0
        is_over = asyncio.Event()

        async def evict():
            nonlocal evicted
            while not is_over.is_set():
                report = await post(service, "/v1/cache:gc", max_bytes=0, execute=True)
                evicted += len(report["evicted"])
                await asyncio.sleep(0.02)

        async def ask(count, size):
            body = {"dataset": digests[count], "kernel": KERNEL, "block_size": size}
            answer = await service.http.post("/v1/jobs", json=body)
            assert answer.status_code in {200, 202}, answer.text
            job = await service.until(answer.json(), "succeeded", "failed")
            assert job["state"] == "succeeded", job
            rows = await service.http.get(f"/v1/grams/{job['gram']}/rows")
            if rows.status_code == 200:
                np.testing.assert_allclose(array_of(rows), truth[:count, :count], rtol=2e-5)
            else:
                assert rows.status_code in {404, 409}, rows.text

        evicting = asyncio.create_task(evict())
        for _ in range(2):
            await asyncio.gather(*(ask(count, size) for count in digests for size in (7, 8)))
        is_over.set()
        await evicting
        assert evicted > 4
    assert not list((tmp_path / "state" / "grams").glob("*.partial"))
