import json

import pytest
from typer.testing import CliRunner

from gramserve.cli import app


@pytest.fixture
def keys(tmp_path, monkeypatch):
    monkeypatch.delenv("GRAMSERVE_DATABASE_URL", raising=False)
    place = ["--data-dir", str(tmp_path / "state")]
    return lambda *words: CliRunner().invoke(app, ["keys", *words, *place])


def test_a_key_is_shown_once_and_can_be_revoked(keys):
    made = keys("create", "lab", "--scope", "read", "--days", "2", "--json")
    key = json.loads(made.stdout)
    assert key["secret"].startswith("gs_")
    assert key["scopes"] == ["read"]
    assert key["state"] == "valid"
    assert key["expires"] > key["created"]
    listed = keys("list")
    assert key["id"] in listed.stdout
    assert key["secret"] not in listed.stdout
    assert key["secret"] not in keys("list", "--json").stdout
    assert keys("revoke", key["id"]).exit_code == 0
    assert json.loads(keys("list", "--json").stdout)[0]["state"] == "revoked"


def test_the_secret_alone_goes_to_standard_output(keys):
    made = keys("create", "lab")
    assert made.stdout.strip().startswith("gs_")
    assert len(made.stdout.split()) == 1
    assert "only now" in made.stderr
    assert "submit" in keys("list").stdout


def test_a_key_that_is_over_is_called_so(keys):
    keys("create", "lab", "--days", "0")
    assert "over" in keys("list").stdout


def test_wrong_scopes_and_keys_are_refused(keys):
    wrong = keys("create", "lab", "--scope", "wirte")
    assert wrong.exit_code == 3
    assert "read, submit, admin" in wrong.stderr
    keys("create", "lab")
    assert keys("revoke", "nobody").exit_code == 3


@pytest.mark.parametrize("words", [("list",), ("revoke", "x")])
def test_looking_makes_no_catalog(keys, tmp_path, words):
    assert keys(*words).exit_code == 4
    assert not (tmp_path / "state").exists()


def test_a_file_where_the_directory_should_be_is_named(keys, tmp_path):
    (tmp_path / "state").write_text("mine")
    result = keys("create", "lab")
    assert result.exit_code in (3, 8)
    assert str(tmp_path / "state") in result.stderr
    assert (tmp_path / "state").read_text() == "mine"
