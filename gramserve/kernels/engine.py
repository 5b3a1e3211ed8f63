"""What an engine is, and which one runs a kernel."""

import time
from collections.abc import Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from gramserve.errors import EngineUnavailableError
from gramserve.kernels.cpu import CpuEngine
from gramserve.kernels.finite import FiniteEngine
from gramserve.kernels.items import Items
from gramserve.kernels.reference import ReferenceEngine
from gramserve.spec import KernelName, KernelSpec, Precision
from gramserve.spec.names import nearest


class Engine(Protocol):
    """Evaluates kernels of items; holds no state between calls."""

    @property
    def name(self) -> str:
        """What ``engine=`` calls it."""
        ...

    @property
    def device(self) -> str:
        """Where it computes, for provenance: "cpu", or the name of a card."""
        ...

    @property
    def about(self) -> str:
        """How it computes, in a few words for people."""
        ...

    def refusal(self, spec: KernelSpec, precision: Precision) -> str | None:
        """Return why it cannot run a kernel, or None if it can."""
        ...

    def warm(self) -> None:
        """Do once for this machine what the first call would wait for."""
        ...

    def temporary_bytes(
        self, spec: KernelSpec, item_shape: Sequence[int], precision: Precision
    ) -> int:
        """Return the temporary memory that one thread needs at least, in bytes."""
        ...

    def variance_length(self, spec: KernelSpec, item_shape: Sequence[int]) -> int:
        """Return how many variances it keeps of an item."""
        ...

    def variances(
        self,
        spec: KernelSpec,
        values: NDArray[Any],
        precision: Precision,
        *,
        memory_bytes: int,
        threads: int = 1,
    ) -> NDArray[Any]:
        """Return (n, V) variances of (n, *item_shape) items; called once per item."""
        ...

    def evaluate(
        self,
        spec: KernelSpec,
        rows: Items,
        columns: Items,
        precision: Precision,
        *,
        memory_bytes: int,
        threads: int = 1,
    ) -> dict[KernelName, NDArray[Any]]:
        """Return (n, m) values of every kernel the spec asks for.

        Variances come with the items and are never computed here. Pairs with equal keys are the
        same item: there ``S`` is set to ``q`` at equal positions before every dual. Where all
        keys agree in order, the block is exactly symmetric. At most ``threads`` threads run.
        """
        ...


ENGINES: dict[str, Engine] = {
    "cpu": CpuEngine(),
    "reference": ReferenceEngine(),
    "finite": FiniteEngine(),
}
"""The engines of this version, the fastest first; the last is for finite networks alone."""

_PLANNED = {
    "cuda": "the CUDA engine is not part of this version",
}


def choose_engine(
    spec: KernelSpec, precision: Precision, wanted: str = "auto"
) -> tuple[Engine, str]:
    """Return the engine that runs a kernel, and why it is that one.

    Parameters
    ----------
    spec : KernelSpec
        The kernel.
    precision : {"float32", "mixed", "float64"}
        How it is to be computed.
    wanted : str
        An engine's name, or "auto" for the fastest that can.

    Returns
    -------
    Engine
        The engine.
    str
        One sentence for people.

    Raises
    ------
    EngineUnavailableError
        When the engine is unknown or not there, or a layer of the kernel is not implemented.
    """
    if wanted == "auto" and spec.finite is not None:
        return choose_engine(spec, precision, "finite")[0], "finite networks have their own engine"
    if wanted == "auto":
        refusals: list[str] = []
        for name, engine in ENGINES.items():
            refusal = _refusal(engine, spec, precision)
            if refusal is None:
                why = f"{name} is the fastest engine here that runs every layer"
                return engine, "; ".join([why, *refusals])
            if name != "finite":
                refusals.append(f"{name}: {refusal}")
        raise EngineUnavailableError(f"no engine runs this kernel: {'; '.join(refusals)}")
    if wanted in _PLANNED:
        msg = f'{_PLANNED[wanted]}; use engine "reference" or "auto"'
        raise EngineUnavailableError(msg)
    if wanted not in ENGINES:
        msg = f"unknown engine {wanted!r}{nearest(wanted, ['auto', *ENGINES, *_PLANNED])}"
        raise EngineUnavailableError(msg)
    refusal = _refusal(ENGINES[wanted], spec, precision)
    if refusal is not None:
        msg = f'engine "{wanted}" does not run this kernel: {refusal}'
        raise EngineUnavailableError(msg)
    return ENGINES[wanted], "asked for"


def _refusal(engine: Engine, spec: KernelSpec, precision: Precision) -> str | None:
    if spec.finite is not None and engine.name != "finite":
        return (
            "it computes kernels of infinite width and the spec asks for finite networks; use "
            'engine "auto", or leave `finite` out of the spec'
        )
    return engine.refusal(spec, precision)


def warm_engines() -> dict[str, float]:
    """Compile what the engines run, so that no job waits for it.

    Returns
    -------
    dict
        Seconds by engine.
    """
    seconds: dict[str, float] = {}
    for name, engine in ENGINES.items():
        began = time.perf_counter()
        engine.warm()
        seconds[name] = time.perf_counter() - began
    return seconds


def describe_engines() -> list[dict[str, Any]]:
    """Return name, availability, device and a remark for every engine, for people and programs.

    Returns
    -------
    list of dict
        ``{"name", "available", "device", "why"}``.
    """
    found = [
        {"name": name, "available": True, "device": engine.device, "why": engine.about}
        for name, engine in ENGINES.items()
    ]
    missing = [
        {"name": name, "available": False, "device": None, "why": why}
        for name, why in _PLANNED.items()
    ]
    return found + missing
