import threading
from pathlib import Path

import numpy as np
import pytest
import zarr

from gramserve.errors import StoreError, StoreMismatchError
from gramserve.store import GramStore, create_gram_group


def test_two_kernels_in_one_place(tmp_path: Path) -> None:
    places = create_gram_group(tmp_path / "out.zarr", ["nngp", "ntk"], {"dataset": "d"})
    for value, place in enumerate(places.values()):
        store = GramStore.create(place, shape=(3, 3), dtype="f4", block_size=2, symmetric=True)
        for i, j in store.planned_blocks():
            store.write_block(i, j, np.full(store.header.extent(i, j), value, "f4"))
    again = create_gram_group(tmp_path / "out.zarr", ("nngp", "ntk"), {"dataset": "d"})
    assert again == places
    group = zarr.open_group(str(tmp_path / "out.zarr"), mode="r")
    assert sorted(name for name, _ in group.arrays()) == ["nngp", "ntk"]
    np.testing.assert_array_equal(group["ntk"][:], np.ones((3, 3)))
    assert zarr.open_array(str(tmp_path / "out.zarr" / "nngp")).shape == (3, 3)


def test_other_content_is_refused(tmp_path: Path) -> None:
    create_gram_group(tmp_path / "g", ["nngp", "ntk"])
    with pytest.raises(StoreMismatchError, match="something else"):
        create_gram_group(tmp_path / "g", ["nngp"])
    with pytest.raises(StoreMismatchError, match="something else"):
        create_gram_group(tmp_path / "g", ["nngp", "ntk"], {"dataset": "e"})
    GramStore.create(tmp_path / "a", shape=(3, 3), dtype="f4", block_size=2, symmetric=True)
    with pytest.raises(StoreMismatchError):
        create_gram_group(tmp_path / "a", ["nngp", "ntk"])
    with pytest.raises(StoreMismatchError):
        GramStore.create(tmp_path / "g", shape=(3, 3), dtype="f4", block_size=2, symmetric=True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    with pytest.raises(StoreMismatchError, match="it has x"):
        create_gram_group(tmp_path / "full", ["nngp"])
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        create_gram_group(tmp_path / "file", ["nngp"])


def test_creators_at_once(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def create() -> None:
        try:
            create_gram_group(tmp_path / "g", ["nngp", "ntk"])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
