"""What an engine is, and which one runs a kernel."""

import time
from typing import Any

from gramserve.arrays import OwnCard
from gramserve.errors import EngineUnavailableError
from gramserve.kernels.augmentation import AveragingEngine
from gramserve.kernels.cpu import CpuEngine
from gramserve.kernels.cuda import CudaEngine
from gramserve.kernels.finite import FiniteEngine
from gramserve.kernels.protocol import Engine
from gramserve.kernels.reference import ReferenceEngine
from gramserve.spec import KernelSpec, Precision
from gramserve.spec.names import nearest


def make_engines(card: OwnCard | None = None) -> dict[str, Engine]:
    """Return the engines of this version by name.

    Parameters
    ----------
    card : OwnCard, optional
        Where those compute that can use one; the first card of the process when not given.

    Returns
    -------
    dict of Engine
        The fastest first; the last is for finite networks alone.
    """
    card = card or OwnCard()
    return {
        "cuda": CudaEngine(card),
        "cpu": CpuEngine(),
        "reference": ReferenceEngine(card),
        "finite": FiniteEngine(),
    }


ENGINES = make_engines()
"""The engines of this process; a card is looked for when one of them is asked about it first."""


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
    if spec.augment == "none":
        return _choose(spec, precision, wanted)
    # Any engine's kernel can be averaged: what it runs is the kernel alone.
    engine, why = _choose(spec.model_copy(update={"augment": "none"}), precision, wanted)
    return AveragingEngine(engine), why


def _choose(spec: KernelSpec, precision: Precision, wanted: str) -> tuple[Engine, str]:
    """Choose by layers and precision."""
    if wanted == "auto" and spec.finite is not None:
        return _choose(spec, precision, "finite")[0], "finite networks have their own engine"
    if wanted == "auto":
        refusals: list[str] = []
        for name, engine in ENGINES.items():
            refusal = _refusal(engine, spec, precision)
            if refusal is None:
                why = f"{name} is the fastest engine here that runs every layer"
                return engine, "; ".join([why, *refusals])
            # What is not here at all is no news in every plan; what refuses a layer is.
            if name != "finite" and engine.missing() is None:
                refusals.append(f"{name}: {refusal}")
        raise EngineUnavailableError(f"no engine runs this kernel: {'; '.join(refusals)}")
    if wanted not in ENGINES:
        msg = f"unknown engine {wanted!r}{nearest(wanted, ['auto', *ENGINES])}"
        raise EngineUnavailableError(msg)
    missing = ENGINES[wanted].missing()
    if missing is not None:
        msg = f'engine "{wanted}" is not available here: {missing}; or use engine "auto"'
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
        Seconds by engine, of those that can run here.
    """
    seconds: dict[str, float] = {}
    for name, engine in ENGINES.items():
        if engine.missing() is not None:
            continue
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
    described: list[dict[str, Any]] = []
    for name, engine in ENGINES.items():
        missing = engine.missing()
        described.append(
            {
                "name": name,
                "available": missing is None,
                "device": engine.device if missing is None else None,
                "why": missing or engine.about,
            }
        )
    return described
