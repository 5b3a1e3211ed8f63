import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gramserve.errors import StorageFullError, StoreError, StoreNotFoundError
from gramserve.store import files
from gramserve.store.files import (
    StagedDirectory,
    StagedFile,
    link_file,
    remove_directory,
    reporting,
    write_file,
)
from gramserve.store.leftovers import sweep


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_staged_file_appears_only_when_committed(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    with StagedFile(path, [b"one", b"", b"two"]) as staged:
        assert not path.exists()
        staged.commit()
        assert path.read_bytes() == b"onetwo"
    assert names(path.parent) == ["b"]


def test_an_abandoned_file_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "b"
    path.write_bytes(b"old")
    with StagedFile(path, [b"new"]):
        pass
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["b"]


def test_commit_new_does_not_replace(tmp_path: Path) -> None:
    path = tmp_path / "b"
    with StagedFile(path, [b"first"]) as staged:
        assert staged.commit_new()
    with StagedFile(path, [b"second"]) as staged:
        assert not staged.commit_new()
    assert path.read_bytes() == b"first"
    assert names(tmp_path) == ["b"]


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(files.os, "write", lambda fd, data: real(fd, bytes(data[:3])))
    write_file(tmp_path / "b", [b"0123456789", b"abcd"])
    assert (tmp_path / "b").read_bytes() == b"0123456789abcd"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(fd: int, data: memoryview) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.os, "write", refuse)
    with pytest.raises(StorageFullError, match="bytes free on the disk"):
        write_file(tmp_path / "b", [b"x"])
    assert names(tmp_path) == []


def test_a_file_instead_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(StoreError, match="cannot write") as caught:
        write_file(tmp_path / "a" / "b", [b"x"])
    assert not isinstance(caught.value, StorageFullError)


def test_reporting_lets_our_errors_through() -> None:
    with pytest.raises(StoreNotFoundError), reporting("read", Path("x")):
        raise StoreNotFoundError("no such thing")


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has staged a file and a directory and goes no further."""
    program = f"""
import time
from pathlib import Path
from gramserve.store.files import StagedFile, StagedDirectory
file = StagedFile(Path({str(tmp_path)!r}) / "file", [b"x" * 1000])
folder = StagedDirectory(Path({str(tmp_path)!r}))
(folder.path / "part").write_bytes(b"x")
print("ready", flush=True)
time.sleep(100)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_sweep_tells_the_dead_from_the_living(
    tmp_path: Path, writer: subprocess.Popen[str]
) -> None:
    (tmp_path / "finished").write_text("")
    assert sweep(tmp_path) == 0
    assert len(names(tmp_path)) == 3
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert sweep(tmp_path) == 2
    assert names(tmp_path) == ["finished"]


def test_sweep_of_nothing(tmp_path: Path) -> None:
    assert sweep(tmp_path / "missing") == 0


def test_a_sweep_between_creation_and_lock_costs_only_a_second_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.flock
    swept: list[int] = []

    def lock_late(descriptor: int, operation: int) -> None:
        if not swept:
            swept.append(0)  # the sweep itself locks, too
            swept[0] = sweep(tmp_path)
        real(descriptor, operation)

    monkeypatch.setattr(files.fcntl, "flock", lock_late)
    write_file(tmp_path / "b", [b"x"])
    assert swept == [1]
    assert names(tmp_path) == ["b"]


def test_a_staged_directory_appears_whole(tmp_path: Path) -> None:
    with StagedDirectory(tmp_path) as staged:
        (staged.path / "part").write_bytes(b"x")
        assert staged.commit(tmp_path / "whole")
    assert names(tmp_path) == ["whole"]
    with StagedDirectory(tmp_path) as staged:
        (staged.path / "other").write_bytes(b"x")
        assert not staged.commit(tmp_path / "whole")
    assert names(tmp_path) == ["whole"]
    assert names(tmp_path / "whole") == ["part"]
    with StagedDirectory(tmp_path) as staged:
        (staged.path / "part").write_bytes(b"x")
    assert names(tmp_path) == ["whole"]
    assert remove_directory(tmp_path / "whole")
    assert not remove_directory(tmp_path / "whole")
    assert names(tmp_path) == []


def test_link_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "c").write_bytes(b"old")
    assert link_file(tmp_path / "a", tmp_path / "c")
    assert link_file(tmp_path / "a", tmp_path / "c")  # the same file already
    assert (tmp_path / "a").samefile(tmp_path / "c")
    assert not link_file(tmp_path / "gone", tmp_path / "d")
    assert names(tmp_path) == ["a", "c"]


def test_what_is_answered_for_is_on_disk_before_and_after_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, bool]] = []
    real = os.fsync
    target = tmp_path / "done"

    def noting(descriptor: int) -> None:
        place = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        synced.append((place, target.exists()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    with StagedDirectory(tmp_path) as staged:
        write_file(staged.path / "a" / "b", [b"x"])
        inside = str(staged.path)
        assert staged.commit(target)
    before = [place for place, is_named in synced if not is_named]
    assert {inside, f"{inside}/a"} <= set(before)
    assert synced[-1] == (str(tmp_path), True)
    synced.clear()
    target = tmp_path / "new"
    with StagedFile(target, [b"x"]) as file:
        assert file.commit_new()
    assert [is_named for _, is_named in synced] == [False, True]
    assert synced[-1] == (str(tmp_path), True)
