import json

import numpy as np

from gramserve.cli.terminal import Terminal, plain, table
from gramserve.spec.status import BlockCounts


def test_json_and_text_are_alternatives(capsys):
    Terminal(True).data({"counts": [BlockCounts(total=2)]}, "text")
    assert json.loads(capsys.readouterr().out)["counts"][0]["total"] == 2
    Terminal(False).data({}, "text")
    assert capsys.readouterr().out == "text\n"


def test_words_go_to_standard_error(capsys):
    Terminal(True).say("words")
    assert capsys.readouterr() == ("", "words\n")


def test_tables_cut_nothing_off():
    digest = "a" * 200
    lines = table(("digest", "n"), [(digest, 1), ("b", None)]).splitlines()
    assert digest in lines[1]
    assert lines[2].split() == ["b", "-"]
    assert {line.index(cell) for line, cell in zip(lines, ("n", "1", "-"), strict=True)} == {202}


def test_plain_goes_into_tuples_and_models():
    assert plain((BlockCounts(), {"a": (1,)})) == [
        {"total": 0, "done": 0, "reused": 0, "failed": 0},
        {"a": [1]},
    ]
    assert plain(np.float64(1.5)) == 1.5
