"""What is asked: kernel specs, their shapes and digests, and the bodies of jobs and reports.

Frozen pydantic models only: no arrays, no files, no network.
"""

from gramserve.spec import layers
from gramserve.spec.addresses import KERNEL_CODE_VERSION, block_address, gram_address
from gramserve.spec.canonical import canonical_json, digest_of
from gramserve.spec.finite import FiniteSpec
from gramserve.spec.job import PRECISIONS, JobRequest, parse_job
from gramserve.spec.network import (
    FORMAT,
    InputSpec,
    KernelName,
    KernelSpec,
    Precision,
    parse_kernel,
)
from gramserve.spec.presets import PRESETS, describe_presets
from gramserve.spec.shapes import LayerShape, infer_shapes, input_positions

__all__ = [
    "FORMAT",
    "KERNEL_CODE_VERSION",
    "PRECISIONS",
    "PRESETS",
    "FiniteSpec",
    "InputSpec",
    "JobRequest",
    "KernelName",
    "KernelSpec",
    "LayerShape",
    "Precision",
    "block_address",
    "canonical_json",
    "describe_presets",
    "digest_of",
    "gram_address",
    "infer_shapes",
    "input_positions",
    "layers",
    "parse_job",
    "parse_kernel",
]
