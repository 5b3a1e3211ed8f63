import json

import pytest

from gramserve.cli.options import read_kernel, read_settings
from gramserve.errors import SpecError
from gramserve.spec import parse_kernel

SPEC = {"layers": [{"type": "dense"}]}


def test_a_name_is_a_preset():
    assert read_kernel("myrtle5") == "myrtle5"


def test_a_file_or_json_is_a_spec(tmp_path):
    path = tmp_path / "kernel.json"
    path.write_text(json.dumps(SPEC))
    assert read_kernel(str(path)) == SPEC
    assert read_kernel(json.dumps(SPEC)) == SPEC
    assert parse_kernel(read_kernel(str(path))).kernels == ("nngp",)
    (tmp_path / "no-suffix").write_text('"fc"')
    assert read_kernel(str(tmp_path / "no-suffix")) == "fc"


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"{", "line 1"), (b"[1]", "list"), (b"\xff\xfe", "cannot be read")],
)
def test_a_bad_file_says_where_it_is_bad(tmp_path, content, words):
    path = tmp_path / "kernel.json"
    path.write_bytes(content)
    with pytest.raises(SpecError, match=words):
        read_kernel(str(path))


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(SpecError, match=r"none\.json"):
        read_kernel("none.json")


def test_settings_are_the_environments_under_the_command_lines(monkeypatch, tmp_path):
    monkeypatch.setenv("GRAMSERVE_PORT", "1234")
    monkeypatch.setenv("GRAMSERVE_DATA_DIR", str(tmp_path))
    settings = read_settings(port=None, workers=3)
    assert (settings.port, settings.workers, settings.data_dir) == (1234, 3, tmp_path)
    assert read_settings(port=9).port == 9


def test_bad_settings_are_all_named(monkeypatch):
    monkeypatch.setenv("GRAMSERVE_PORT", "many")
    with pytest.raises(SpecError, match=r"GRAMSERVE_PORT.*GRAMSERVE_WORKERS"):
        read_settings(workers=-1)
