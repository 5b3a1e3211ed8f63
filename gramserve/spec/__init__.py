"""What is asked: kernel specs and recipes, their digests, and the bodies of jobs and reports.

Frozen pydantic models only: no arrays, no files, no network.
"""

from gramserve.spec import layers
from gramserve.spec.addresses import (
    KERNEL_CODE_VERSION,
    PREPROCESSING_CODE_VERSION,
    BlockAddresses,
    block_address,
    derived_address,
    described_kernel_address,
    fit_address,
    gram_address,
    kernel_address,
)
from gramserve.spec.canonical import canonical_json, digest_of
from gramserve.spec.ckn_reader import read_ckn_layers
from gramserve.spec.derivative import (
    DERIVATIVES,
    Derivative,
    derivative_order,
    derivative_shape,
    parse_derivative,
)
from gramserve.spec.finite import FiniteSpec
from gramserve.spec.job import PRECISIONS, JobRequest, parse_job
from gramserve.spec.network import (
    FORMAT,
    Augmentation,
    InputSpec,
    KernelName,
    KernelSpec,
    OutputName,
    Precision,
    Readout,
    parse_kernel,
)
from gramserve.spec.neural_kernels import read_neural_kernels_config
from gramserve.spec.preprocessing import (
    RESULT_DTYPES,
    PreprocessingRecipe,
    PreprocessRequest,
    ResultDtype,
    parse_preprocess,
    parse_recipe,
)
from gramserve.spec.presets import PRESETS, describe_presets
from gramserve.spec.recipes import RECIPES, describe_recipes
from gramserve.spec.shapes import LayerShape, infer_shapes, input_positions

__all__ = [
    "DERIVATIVES",
    "FORMAT",
    "KERNEL_CODE_VERSION",
    "PRECISIONS",
    "PREPROCESSING_CODE_VERSION",
    "PRESETS",
    "RECIPES",
    "RESULT_DTYPES",
    "Augmentation",
    "BlockAddresses",
    "Derivative",
    "FiniteSpec",
    "InputSpec",
    "JobRequest",
    "KernelName",
    "KernelSpec",
    "LayerShape",
    "OutputName",
    "Precision",
    "PreprocessRequest",
    "PreprocessingRecipe",
    "Readout",
    "ResultDtype",
    "block_address",
    "canonical_json",
    "derivative_order",
    "derivative_shape",
    "derived_address",
    "describe_presets",
    "describe_recipes",
    "described_kernel_address",
    "digest_of",
    "fit_address",
    "gram_address",
    "infer_shapes",
    "input_positions",
    "kernel_address",
    "layers",
    "parse_derivative",
    "parse_job",
    "parse_kernel",
    "parse_preprocess",
    "parse_recipe",
    "read_ckn_layers",
    "read_neural_kernels_config",
]
