"""The CUDA sources as one text: includes resolved, as compilers without a file system want it."""

import re
from functools import cache
from importlib.resources import files

_INCLUDE = re.compile(r'^#include "([a-z_]+\.cuh)"$', re.MULTILINE)
_ONCE = re.compile(r"^#pragma once$", re.MULTILINE)


@cache
def library_source() -> str:
    """Return all templates, each file once and behind what it includes.

    Returns
    -------
    str
        CUDA C++17 without includes and without kernels: these instantiate the templates.
    """
    taken: set[str] = set()

    def take(name: str) -> str:
        if name in taken:
            return ""
        taken.add(name)
        text = (files(__package__) / "sources" / name).read_text(encoding="utf-8")
        return _INCLUDE.sub(lambda found: take(found.group(1)), _ONCE.sub("", text))

    return take("pool.cuh") + take("dense.cuh")
