import os
from pathlib import Path

import pytest

from gramserve.store import SharedUse, measure, occupied_bytes


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Three directories; the first two share a file, all three another one."""
    made = [tmp_path / name for name in ("a", "b", "c")]
    for number, folder in enumerate(made):
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "own").write_bytes(b"x" * 5000 * (number + 1))
    (made[0] / "pair").write_bytes(b"y" * 9000)
    os.link(made[0] / "pair", made[1] / "pair")
    (made[0] / "all").write_bytes(b"z" * 20000)
    for folder in made[1:]:
        os.link(made[0] / "all", folder / "all")
    return made


def blocks(path: Path) -> int:
    return path.stat().st_blocks * 512


def test_files_with_several_names_are_counted_once(folders):
    uses = [measure(folder) for folder in folders]
    own = [blocks(folder / "deep" / "own") for folder in folders]
    pair, everywhere = blocks(folders[0] / "pair"), blocks(folders[0] / "all")
    assert [use.sole_bytes for use in uses] == own
    assert [use.bytes for use in uses] == [
        own[0] + pair + everywhere,
        own[1] + pair + everywhere,
        own[2] + everywhere,
    ]
    assert occupied_bytes(uses) == sum(own) + pair + everywhere
    assert occupied_bytes(uses[2:]) == own[2] + everywhere
    assert occupied_bytes([]) == 0


def test_a_shared_file_is_freed_with_its_last_name(folders):
    own = [blocks(folder / "deep" / "own") for folder in folders]
    pair, everywhere = blocks(folders[0] / "pair"), blocks(folders[0] / "all")
    shared = SharedUse(measure(folder) for folder in folders)
    total = shared.bytes
    assert [shared.freed_by(number) for number in range(3)] == own
    assert shared.remove(1) == own[1]
    assert shared.freed_by(0) == own[0] + pair
    assert shared.remove(0) == own[0] + pair
    assert shared.remove(2) == own[2] + everywhere
    assert shared.bytes == total - sum(own) - pair - everywhere == 0


def test_what_goes_away_meanwhile_has_no_size(tmp_path):
    assert measure(tmp_path / "none").bytes == 0
