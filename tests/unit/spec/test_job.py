import pytest

from gramserve.errors import SpecError, UnknownLayerError
from gramserve.spec import parse_job, parse_kernel

DIGEST = "a" * 64


def faults_of(body):
    with pytest.raises(SpecError) as caught:
        parse_job(body)
    return {fault["loc"]: fault["message"] for fault in caught.value.errors}, caught.value


def test_defaults():
    request, spec = parse_job({"dataset": DIGEST, "kernel": "fc"})
    assert spec == parse_kernel("fc")
    assert request.other is None
    assert request.precision == "float32"
    assert request.block_size is None
    assert request.priority == 0


def test_faults_of_body_and_kernel_are_said_together():
    faults, error = faults_of(
        {
            "dataset": "x",
            "kernel": {"layers": [{"type": "relo"}]},
            "block_size": 0,
            "priority": 1000,
            "precison": "float32",
        }
    )
    assert isinstance(error, UnknownLayerError)
    assert set(faults) == {"dataset", "kernel.layers[0]", "block_size", "priority", "precison"}
    assert faults["block_size"] == "must be at least 1, got 0"
    assert faults["precison"] == "unknown key; did you mean 'precision'?"


def test_what_is_missing():
    faults, _ = faults_of({})
    assert faults == {"dataset": "is required", "kernel": "is required"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dataset", "A" * 64),
        ("dataset", "a" * 63),
        ("other", "../../etc/passwd"),
        ("precision", "float16"),
        ("block_size", 2.5),
        ("block_size", "64"),
        ("block_size", True),
        ("priority", 101),
        ("kernel", 5),
        ("kernel", None),
    ],
)
def test_wrong_values(field, value):
    faults, _ = faults_of({"dataset": DIGEST, "kernel": "fc", field: value})
    assert set(faults) == {field}
