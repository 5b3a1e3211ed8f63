"""Turn pydantic's findings into one error that lists every fault and the nearest known name."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from gramserve.errors import SpecError, UnknownLayerError
from gramserve.spec.layers import LAYER_TYPES
from gramserve.spec.names import nearest

Types = Mapping[str, type[BaseModel]]
"""Models by their ``type``."""


def place(location: Sequence[str | int], tags: Iterable[str] = LAYER_TYPES) -> str:
    """Write a location as ``layers[2].size``, without the union tags pydantic inserts.

    Parameters
    ----------
    location : sequence of str or int
        Keys and indices from the outside in.
    tags : iterable of str
        Names to leave out where they follow an index (the layer types).

    Returns
    -------
    str
        The place, ``""`` for the whole body.
    """
    known = set(tags)
    text = ""
    previous: str | int | None = None
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif not (isinstance(previous, int) and part in known):
            text += f".{part}" if text else part
        previous = part
    return text


def _fields_at(model: type[BaseModel], location: Sequence[str | int], types: Types) -> list[str]:
    """Return the fields that were possible where an unknown key was found."""
    owner: type[BaseModel] = model
    for part in location[:-1]:
        if isinstance(part, str):
            if part in types:
                owner = types[part]
            elif part in owner.model_fields:
                annotation = owner.model_fields[part].annotation
                for kind in (annotation, *get_args(annotation)):  # a model, or a model or None
                    if isinstance(kind, type) and issubclass(kind, BaseModel):
                        owner = kind
    return list(owner.model_fields)


def _tag_sentence(given: Any, types: Types, noun: str) -> str:
    example = "relu" if "relu" in types else next(iter(types))
    if isinstance(given, Mapping):
        return f'has no "type"; a {noun} is written {{"type": "{example}"}}'
    return f'must be a {noun} such as {{"type": "{example}"}}, got {given!r}'


def _sentence(fault: Mapping[str, Any], model: type[BaseModel], types: Types, noun: str) -> str:
    given, context = fault.get("input"), fault.get("ctx", {})
    match fault["type"]:
        case "extra_forbidden":
            known = _fields_at(model, fault["loc"], types)
            sentence = f"unknown key{nearest(fault['loc'][-1], known)}"
        case "missing":
            sentence = "is required"
        case "union_tag_invalid":
            tag = context["tag"]
            sentence = f"unknown {noun} type {tag!r}{nearest(tag, types)}"
        case "union_tag_not_found" | "model_attributes_type":
            sentence = _tag_sentence(given, types, noun)
        case "literal_error":
            known = re.findall(r"'([^']*)'", str(context.get("expected", "")))
            sentence = f"{given!r} is not known{nearest(given, known)}"
        case "value_error":
            sentence = str(context["error"])
        case _:
            sentence = f"{fault['msg'][0].lower()}{fault['msg'][1:]}, got {given!r}"
    return sentence


def spec_error(
    error: ValidationError,
    model: type[BaseModel],
    what: str,
    types: Types = LAYER_TYPES,
    noun: str = "layer",
) -> SpecError:
    """Collect all faults of a validation into one error.

    Parameters
    ----------
    error : pydantic.ValidationError
        What pydantic found.
    model : type of BaseModel
        The model that was validated, to name its fields.
    what : str
        What the user gave, for the first words of the message: "kernel spec".
    types : mapping of str to type of BaseModel
        The models that are told apart by their ``type``.
    noun : str
        What one of those is called: "layer", "step".

    Returns
    -------
    SpecError
        :class:`UnknownLayerError` when a layer type is among the faults. ``errors`` has one
        ``{"loc", "message"}`` for each fault.
    """
    found: dict[str, list[str]] = {}
    unknown = False
    for fault in error.errors(include_url=False):
        location = place(fault["loc"], types)
        for line in _sentence(fault, model, types, noun).splitlines():
            # Checks across layers report several places at once, one on each line.
            where, separator, sentence = line.partition(": ") if not location else ("", "", "")
            if not separator:
                where, sentence = location, line
            if sentence not in found.setdefault(where, []):
                found[where].append(sentence)
        unknown = unknown or (fault["type"] == "union_tag_invalid" and types is LAYER_TYPES)
    faults = [
        {"loc": location, "message": sentence}
        for location, sentences in found.items()
        for sentence in sentences
    ]
    kind = UnknownLayerError if unknown else SpecError
    return kind(summary(faults, what), errors=faults)


def summary(faults: Sequence[Mapping[str, Any]], what: str) -> str:
    """Write faults as one message.

    Parameters
    ----------
    faults : sequence of mapping
        ``{"loc", "message"}`` each.
    what : str
        What is at fault, for example "kernel spec".

    Returns
    -------
    str
        One line for one fault, else a list with one line each.
    """
    lines = [f"{fault['loc']}: {fault['message']}".removeprefix(": ") for fault in faults]
    if len(lines) == 1:
        return f"{what}: {lines[0]}"
    return f"{what} has {len(lines)} faults:\n" + "\n".join(f"  {line}" for line in lines)
