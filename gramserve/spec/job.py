"""What a client asks for: the body of jobs and plans."""

from collections.abc import Mapping
from typing import Annotated, Any, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from gramserve.errors import SpecError
from gramserve.spec.faults import spec_error, summary
from gramserve.spec.network import KernelSpec, Precision, parse_kernel
from gramserve.spec.numbers import Count, Whole

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
"""All precisions, the cheapest first."""

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""The SHA-256 of a data set, 64 hexadecimal digits."""


def _kernel_json(value: Any) -> Any:
    return value.canonical() if isinstance(value, KernelSpec) else value


class JobRequest(BaseModel):
    """The body of ``POST /v1/jobs`` and ``POST /v1/plans``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: Digest
    """Digest of the data set of the rows."""
    other: Digest | None = None
    """Digest of the data set of the columns; None for the symmetric matrix."""
    kernel: Annotated[str | dict[str, Any], BeforeValidator(_kernel_json)]
    """A preset's name, a preset with options, or a full kernel spec."""
    precision: Precision = "float32"
    """How the numbers are computed and stored."""
    block_size: Count | None = None
    """Rows and columns of a block; chosen from the cost of a pair when None."""
    priority: Annotated[Whole, Field(ge=-100, le=100)] = 0
    """Higher goes first."""

    def spec(self) -> KernelSpec:
        """Return the parsed kernel; raises SpecError with every fault."""
        return parse_kernel(self.kernel)


def parse_job(body: Mapping[str, Any]) -> tuple[JobRequest, KernelSpec]:
    """Validate a job's body and its kernel together, reporting the faults of both.

    Parameters
    ----------
    body : mapping
        The JSON object.

    Returns
    -------
    JobRequest
        The validated body.
    KernelSpec
        Its kernel, presets expanded.

    Raises
    ------
    SpecError
        With every fault; places inside the kernel start with ``kernel.``.
    """
    faults: list[dict[str, Any]] = []
    kind: type[SpecError] = SpecError
    request: JobRequest | None = None
    spec: KernelSpec | None = None
    try:
        request = JobRequest.model_validate(body)
    except ValidationError as error:
        faults += [
            fault
            for fault in spec_error(error, JobRequest, "job").errors
            if not fault["loc"].startswith("kernel") or "kernel" not in body
        ]
    if "kernel" in body:
        try:
            spec = parse_kernel(body["kernel"])
        except SpecError as error:
            kind = type(error)
            faults += [
                {**fault, "loc": f"kernel.{fault['loc']}".removesuffix(".")}
                for fault in error.errors
            ]
    if faults or request is None or spec is None:
        raise kind(summary(faults, "job"), errors=faults)
    return request, spec
