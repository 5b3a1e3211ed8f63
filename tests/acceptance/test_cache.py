"""The shared cache from the command line and from a notebook."""

import json

import numpy as np
import pytest
import zarr
from command_line import KERNEL, data_of, gramserve
from live_server import LiveServer

import gramserve as gs
from gramserve.errors import StoreNotFoundError
from gramserve.store import GramStore, StateLayout


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with LiveServer(tmp_path_factory.mktemp("state") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def ask(server):
    environment = {"GRAMSERVE_URL": server.url, "GRAMSERVE_API_KEY": server.key}
    return lambda *words: gramserve(*words, environment=environment)


@pytest.fixture(scope="module")
def items():
    return np.random.default_rng(0).integers(0, 255, (28, 6, 6, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def gram(server, items):
    with gs.connect(server.url, api_key=server.key) as client:
        yield client.submit(items[:20], kernel=KERNEL, block_size=8).wait(progress=False)


def test_a_report_card_is_for_people_and_programs(ask, gram):
    card = gram.report_card()
    assert card.complete
    assert card.findings.symmetric is True
    assert card.findings.spectrum.smallest > 0
    assert card.request["dataset"] == gram.report.dataset
    assert "to the bit" in repr(card)
    assert "6 computed, 0 taken over" in card._repr_html_()
    answer = data_of(ask("grams", "report", gram.id, "--json"))
    assert answer["findings"] == card.findings.model_dump(mode="json")
    text = ask("grams", "report", gram.id).stdout
    assert "eigenvalues" in text
    assert "exact" in text


def test_an_audit_is_waited_for(ask, gram):
    found = gram.audit(every=2)
    assert (found.passed, found.blocks_done, found.every) == (True, 3, 2)
    assert gram.last_audit() == found
    assert "passed" in ask("grams", "audit", gram.id, "--every", 5).stdout
    assert data_of(ask("grams", "audit", gram.id, "--json"))["every"] == 100


def test_blocks_are_listed_with_their_makers(ask, gram):
    found = gram.blocks()
    assert [one.block for one in found] == [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
    assert all(one.checksum and one.seconds for one in found)
    assert "1, 2" in ask("grams", "blocks", gram.id).stdout
    assert len(data_of(ask("grams", "blocks", gram.id, "--json"))) == 6


def test_pins_sizes_and_a_dry_run(ask, gram, server):
    assert gram.pin("for the paper")[0].reason == "for the paper"
    gram[3:5]
    answer = data_of(ask("cache", "ls", "--json"))
    (entry,) = [one for one in answer["entries"] if one["id"] == gram.id]
    assert entry["in_use"] == "pinned by first admin key"
    assert entry["rows_served"] >= 2
    text = ask("cache", "ls").stdout
    assert "hit rate" in text
    assert "pinned by" in text
    dry = ask("cache", "gc", "--max-bytes", "0")
    assert dry.exit_code == 6
    assert f"keeps {gram.id}: pinned" in dry.stdout
    assert "NOT ENOUGH" in dry.stdout
    assert ask("cache", "unpin", gram.id).stdout.strip() == "not pinned"
    assert "pinned by first admin key" in ask("cache", "pin", gram.id, "--reason", "mine").stdout
    assert gram.unpin(everybody=True) == []
    roomy = data_of(ask("cache", "gc", "--max-bytes", "1T", "--json"))
    assert (roomy["executed"], roomy["reached"], roomy["evicted"]) == (False, True, [])
    assert ask("cache", "gc").exit_code == 2
    assert ask("cache", "gc", "--max-bytes", "many").exit_code == 3
    with gs.connect(server.url, api_key=server.key) as client:
        assert client.cache.report().bytes == answer["bytes"]
        assert not client.cache.evict(free_bytes=1).executed
        with pytest.raises(StoreNotFoundError):
            client.gram("0" * 32).pin()


def test_compute_takes_over_what_a_server_has(ask, gram, server, items, tmp_path):
    np.save(tmp_path / "x.npy", items)
    (tmp_path / "kernel.json").write_text(json.dumps(KERNEL))
    words = [tmp_path / "x.npy", "-k", tmp_path / "kernel.json", "--cache", server.data_dir]
    plan = data_of(gramserve("plan", *words, "--block-size", 8, "--json"))
    assert plan["blocks"] == {"total": 10, "cached": 3, "adoptable": 3, "to_compute": 7}
    out = tmp_path / "gram.zarr"
    answer = data_of(gramserve("compute", *words, "-o", out, "--block-size", 8, "--json"))
    assert (answer["blocks"]["reused"], answer["blocks"]["computed"]) == (3, 7)
    truth = gs.compute_gram(items, kernel=KERNEL)
    np.testing.assert_allclose(zarr.open_array(out, mode="r")[:], truth, rtol=2e-5)
    source = GramStore.open(StateLayout(server.data_dir).gram(gram.id))
    assert GramStore.open(out).object_path(0, 1).samefile(source.object_path(0, 1))


def test_verification_at_the_server_and_of_files(ask, gram, server):
    words = ("cache", "verify", "--data-dir", server.data_dir)
    assert data_of(gramserve(*words, "--json"))["damaged"] == []
    assert "0 damaged" in ask("cache", "verify").stdout
    assert data_of(ask("cache", "verify", "--max-age", 1, "--json"))["blocks_checked"] == 0
    path = GramStore.open(StateLayout(server.data_dir).gram(gram.id)).object_path(0, 2)
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-5])
    assert gramserve(*words, "--keep").exit_code == 8
    result = ask("cache", "verify", gram.id)
    assert result.exit_code == 8
    assert "1 damaged" in result.stdout
    assert "damaged" in result.stderr
    assert "5 blocks checked, 0 damaged" in gramserve(*words, gram.id).stdout
    assert not gram.refresh().complete
