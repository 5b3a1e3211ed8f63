"""A real disk that is full: jobs, catalog, uploads and variances wait and go on."""

import os
import subprocess
import sys
import time

import httpx
import numpy as np
import pytest
import zarr
from fault_table import PLACE, FaultTable
from live_server import LiveServer, child_environment
from service_app import npy
from small_disk import Filler, small_disk

import gramserve as gs

KERNEL = {"preset": "cntk", "depth": 3}
TOTAL = 21


@pytest.fixture
def disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if small_disk(disk, "1m") is None:
        pytest.skip("this user may not mount a file system, not even in a namespace")
    return disk


def until(is_so, timeout_s=60):
    end = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_job_catalog_and_uploads_wait_for_space_and_go_on(disk, tmp_path):
    x = np.random.default_rng(0).standard_normal((48, 8, 8, 3)).astype("f4")
    server = LiveServer(
        disk / "state",
        module="faulty_server",
        before=small_disk(disk, "6m"),
        PYTHONPATH=os.pathsep.join(filter(None, sys.path)),
        **{PLACE: str(tmp_path)},
    )
    headers = {"Authorization": f"Bearer {server.key}"}
    with (
        server,
        httpx.Client(base_url=server.url, headers=headers, timeout=30, trust_env=False) as http,
    ):
        FaultTable(tmp_path).pause(0.05)
        filler = Filler(server.pid, disk)

        def upload(values):
            kind = {"Content-Type": "application/x-npy"}
            return http.post("/v1/datasets", content=npy(values), headers=kind)

        def report():
            return http.get(f"/v1/jobs/{job['id']}").json()

        body = {"dataset": upload(x).json()["digest"], "kernel": KERNEL, "block_size": 8}
        job = http.post("/v1/jobs", json=body).json()
        until(lambda: report()["blocks"]["done"] >= 3)
        filler.fill()
        until(lambda: "no space left" in (report()["waiting_reason"] or ""))
        assert report()["state"] == "running"
        refused = upload(x + 1)
        assert (refused.status_code, refused.json()["code"]) == (507, "storage_full")
        other = http.post("/v1/jobs", json={**body, "kernel": {"preset": "cntk", "depth": 4}})
        assert (other.status_code, other.json()["code"]) == (507, "storage_full")
        # What is stored is read as ever.
        assert http.get(f"/v1/grams/{job['gram']}/zarr/c/0/0").status_code == 200
        filler.free()
        until(lambda: report()["state"] == "succeeded")
        done = report()
        assert done["blocks"] == {"total": TOTAL, "done": TOTAL, "reused": 0, "failed": 0}
        assert done["waiting_reason"] is None
        found = np.frombuffer(http.get(f"/v1/grams/{job['gram']}/rows").content, "f4")
        np.testing.assert_allclose(
            found.reshape(len(x), len(x)), gs.compute_gram(x, kernel=KERNEL), rtol=1e-5
        )
        assert upload(x + 1).status_code == 201


def test_variances_that_do_not_fit_are_made_when_there_is_space(disk, tmp_path):
    x = np.random.default_rng(0).integers(0, 255, (64, 32, 32, 3), dtype=np.uint8)
    np.save(tmp_path / "x.npy", x)
    command = f"{sys.executable} -m gramserve compute {tmp_path}/x.npy --kernel myrtle5"
    command += f" --block-size 64 --workers 0 --out {disk}/g.zarr"
    # Room for 200 kB of items, not for their variances, 4 kB each and more.
    script = f"""
        {command} >/dev/null; echo $?
        find {disk}/g.zarr.work/variances -path '*/c/*' -type f
        mount -o remount,size=16m tmpfs {disk}
        {command} >/dev/null; echo $?
        cp -r {disk}/g.zarr {tmp_path}
    """
    ended = subprocess.run(
        [*small_disk(disk, "400k"), "sh", "-c", script],
        env=child_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.splitlines() == ["8", "0"], ended
    assert "no space left" in ended.stderr
    assert "run the same command again" in ended.stderr
    found = zarr.open_array(tmp_path / "g.zarr", mode="r")[:4, :4]
    np.testing.assert_allclose(found, gs.compute_gram(x[:4], kernel="myrtle5"), rtol=1e-5)
