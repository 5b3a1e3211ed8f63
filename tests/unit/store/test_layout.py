from pathlib import Path

import pytest

from gramserve.errors import StoreError, StoreNotFoundError
from gramserve.store import StateLayout


def test_ensure_creates_every_directory_and_can_be_repeated(tmp_path: Path) -> None:
    layout = StateLayout(tmp_path / "deep" / "state")
    layout.ensure()
    layout.ensure()
    inside = (layout.datasets, layout.transforms, layout.variances, layout.grams, layout.uploads)
    for folder in inside:
        assert folder.is_dir()
        assert folder.parent == layout.root
    assert layout.catalog == layout.root / "catalog.sqlite"
    assert not layout.catalog.exists()


def test_a_relative_root_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert StateLayout(Path("state")).root == tmp_path / "state"


@pytest.mark.parametrize("inside", [".", "datasets", "grams", "above/state"])
def test_a_file_in_the_way_is_named(tmp_path: Path, inside: str) -> None:
    root = tmp_path / ("above/state" if "above" in inside else "state")
    blocked = tmp_path / "above" if "above" in inside else root / inside
    blocked.parent.mkdir(exist_ok=True)
    blocked.write_text("in the way")
    with pytest.raises(StoreError, match=r"is a file; .*GRAMSERVE_DATA_DIR") as caught:
        StateLayout(root).ensure()
    assert str(blocked) in str(caught.value)


def test_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").symlink_to(tmp_path / "gone")
    with pytest.raises(StoreError, match="is a link to nothing"):
        StateLayout(tmp_path / "state").ensure()


def test_gram_paths_stay_inside(tmp_path: Path) -> None:
    layout = StateLayout(tmp_path)
    assert layout.gram("0f" * 16) == layout.grams / ("0f" * 16)
    for bad in ("..", "", "../" + "0" * 29, "0" * 31, "0" * 33, "G" * 32, "0" * 32 + "\n"):
        with pytest.raises(StoreNotFoundError):
            layout.gram(bad)
