import shutil

import pytest

from gramserve.errors import ConflictError, StoreError
from gramserve.service.occupancy import LOCK, occupied


@pytest.fixture
def use(tmp_path):
    """Return a function that uses the directory, and the list of who cleared it."""
    cleared = []

    def use(who, *, is_shared, folder=tmp_path):
        return occupied(
            folder, is_shared=is_shared, clear=lambda: cleared.append(who), patience_s=0.1
        )

    return use, cleared


def test_one_alone_keeps_all_others_away(use):
    use, cleared = use
    with use("a", is_shared=False):
        for is_shared in (False, True):
            with (
                pytest.raises(ConflictError, match="another server uses"),
                use("b", is_shared=is_shared),
            ):
                pass
    assert cleared == ["a"]
    with use("c", is_shared=True):
        pass
    assert cleared == ["a", "c"]


def test_those_who_share_let_each_other_in_and_only_the_first_one_clears(use):
    use, cleared = use
    with use("a", is_shared=True) as first, use("b", is_shared=True) as second:
        assert first is not None
        assert second is None
        with pytest.raises(ConflictError), use("c", is_shared=False):
            pass
    assert cleared == ["a"]
    with use("d", is_shared=False) as again:
        assert again == first
    assert cleared == ["a", "d"]


def test_a_copy_of_the_directory_has_another_name(use, tmp_path):
    use, _ = use
    with use("a", is_shared=False) as name:
        pass
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(tmp_path / LOCK, copy / LOCK)
    with use("b", is_shared=False, folder=copy) as other:
        assert other not in {name, None}


def test_a_place_without_a_lock_file_is_named(use, tmp_path):
    use, _ = use
    (tmp_path / LOCK).mkdir()
    with pytest.raises(StoreError, match=LOCK), use("a", is_shared=False):
        pass
