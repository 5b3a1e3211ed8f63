import json

import pytest
import typer
from typer.testing import CliRunner

from gramserve.cli.group import OutermostGroup
from gramserve.errors import SpecError

ERRORS = {
    "spec": SpecError("layers[0]: no", errors=[{"loc": "layers[0]", "message": "no"}], n=3),
    "bug": ZeroDivisionError("oops"),
    "interrupt": KeyboardInterrupt(),
    "abort": typer.Abort(),
}


@pytest.fixture
def invoke():
    app = typer.Typer(cls=OutermostGroup, pretty_exceptions_enable=False)

    @app.callback()
    def outermost(debug: bool = typer.Option(False, "--debug")):
        pass

    @app.command()
    def fail(how: str, as_json: bool = typer.Option(False, "--json")):
        raise ERRORS[how]

    @app.command()
    def succeed(words: list[str] = typer.Argument(None)):
        print(words)

    return lambda *words: CliRunner().invoke(app, list(words))


def test_an_error_is_one_message_without_a_traceback(invoke):
    result = invoke("fail", "spec")
    assert result.exit_code == 3
    assert result.stderr == "error: layers[0]: no\n"
    assert result.stdout == ""


def test_debug_shows_the_traceback_wherever_it_stands(invoke):
    for words in (("--debug", "fail", "spec"), ("fail", "--debug", "spec")):
        result = invoke(*words)
        assert result.exit_code == 3
        assert "Traceback" in result.stderr


def test_in_json_the_error_is_a_problem_on_standard_output_too(invoke):
    result = invoke("fail", "spec", "--json")
    body = json.loads(result.stdout)
    assert body["code"] == "invalid_spec"
    assert body["errors"] == [{"loc": "layers[0]", "message": "no"}]
    assert body["context"] == {"n": 3}
    assert body["exit_code"] == result.exit_code == 3
    assert "error:" in result.stderr


def test_a_bug_is_called_unexpected(invoke):
    result = invoke("fail", "bug")
    assert result.exit_code == 1
    assert "unexpected ZeroDivisionError: oops" in result.stderr
    assert "Traceback" not in result.stderr
    assert "ZeroDivisionError" in invoke("fail", "bug", "--debug").stderr.split("Traceback")[1]


@pytest.mark.parametrize("how", ["interrupt", "abort"])
def test_interrupted_is_130(invoke, how):
    assert invoke("fail", how).exit_code == 130


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("fial",), "Did you mean 'fail'"),
        (("fail",), "Missing argument"),
        (("fail", "spec", "--jsn"), "--json"),
    ],
)
def test_misuse_is_2_and_names_the_nearest(invoke, words, message):
    result = invoke(*words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "--help" in result.stderr


def test_misuse_in_json_is_a_problem_too(invoke):
    body = json.loads(invoke("fail", "--json").stdout)
    assert body["code"] == "usage"
    assert body["exit_code"] == 2


def test_success_is_0_and_words_after_a_double_dash_stay(invoke):
    result = invoke("succeed", "--", "--debug")
    assert result.exit_code == 0
    assert result.stdout == "['--debug']\n"
