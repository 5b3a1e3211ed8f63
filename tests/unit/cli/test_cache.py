import json

import numpy as np
from typer.testing import CliRunner

from gramserve.cli import app
from gramserve.store import DatasetStore, GramStore, StateLayout


def test_what_lies_in_a_state_directory_is_listed_with_its_size(tmp_path):
    layout = StateLayout(tmp_path / "state")
    layout.ensure()
    record = DatasetStore(layout.datasets).add(np.ones((4, 3)))
    gram = GramStore.create(
        layout.gram("0" * 32), shape=(4, 4), dtype="float32", block_size=4, symmetric=True
    )
    gram.write_block(0, 0, np.ones((4, 4), np.float32))
    words = ["cache", "ls", "--data-dir", str(layout.root)]
    answer = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    found = {entry["kind"]: entry for entry in answer["entries"]}
    assert set(found) == {"dataset", "gram"}
    assert found["dataset"]["id"] == record.digest
    assert found["dataset"]["bytes"] > 4 * 3 * 8
    assert found["gram"]["bytes"] > 4 * 4 * 4
    assert answer["bytes"] == sum(entry["bytes"] for entry in answer["entries"])
    text = CliRunner().invoke(app, words).stdout
    assert record.digest in text
    assert "total" in text


def test_no_state_directory_is_not_found(tmp_path):
    result = CliRunner().invoke(app, ["cache", "ls", "--data-dir", str(tmp_path / "none")])
    assert result.exit_code == 4
    assert not (tmp_path / "none").exists()
