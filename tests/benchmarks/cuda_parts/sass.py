"""Instructions of a kernel per entry and layer, counted in its machine code.

A tile step runs one loop over tiles; inside it, layers that repeat are a loop of their own, which
runs as often as the source says (``Repeat<3, ...>``). What else lies in the loop over tiles, the
products of the items and the sums of pools, is counted once for each tile.
"""

import collections
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

KINDS = {
    "floats": ("FFMA", "FMUL", "FADD"),
    "shuffles": ("SHFL",),
    "roots": ("MUFU",),
    "loads": ("LDG", "LD"),
}
_LABEL = re.compile(r"\s*(\.L_x_\d+):")
_INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,5}\*/\s+(.+?) ;")
_JUMP = re.compile(r"BRA\S*.*?(\.L_x_\d+)")
_GUARD = re.compile(r"^@!?U?P\w+ ")


def find_disassembler(given=None):
    """Return the path of nvdisasm, which CUDA's toolkit has, or None."""
    usual = shutil.which("nvdisasm") or shutil.which("nvdisasm", path="/usr/local/cuda/bin")
    return given or usual


def disassemble(cubin, disassembler):
    """Return the instructions of every kernel, each with the loops among them.

    Returns
    -------
    dict of str to (list of str, list of (int, int))
        Names of instructions; first and last of each loop.
    """
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "kernels.cubin"
        path.write_bytes(cubin)
        text = subprocess.run(
            [disassembler, str(path)], capture_output=True, text=True, check=True
        ).stdout
    return {
        part.partition(":")[0].strip(): _read(part) for part in re.split(r"\n\.text\.", text)[1:]
    }


def _read(text):
    names, jumps, labels = [], [], {}
    for line in text.splitlines():
        if label := _LABEL.match(line):
            labels[label[1]] = len(names)
        if found := _INSTRUCTION.search(line):
            if jump := _JUMP.search(found[1]):
                jumps.append((len(names), jump[1]))
            names.append(_GUARD.sub("", found[1]).split()[0].split(".")[0])
    loops = {(labels[to], at) for at, to in jumps if labels.get(to, at + 1) <= at}
    return names, sorted(loops)


def count_tile(names, loops, repeats):
    """Return the instructions that a warp runs for one tile, by name, or None.

    Parameters
    ----------
    names : list of str
        Instructions of a kernel.
    loops : list of (int, int)
        First and last instruction of each loop.
    repeats : list of int
        How often the loops over layers run, in the order of the source.

    Returns
    -------
    collections.Counter or None
        None where the compiler made other loops of the source than are looked for.
    """
    with_roots = [
        (low, high) for low, high in loops if "MUFU" in names[low : high + 1] and high - low > 100
    ]
    inner = [
        loop
        for loop in with_roots
        if not any(
            loop != other and loop[0] <= other[0] <= other[1] <= loop[1] for other in with_roots
        )
    ]
    if repeats and len(inner) != len(repeats):
        return None
    around = [
        (low, high)
        for low, high in with_roots
        if not repeats
        or ((low, high) not in inner and all(low <= a <= b <= high for a, b in inner))
    ]
    if not around:
        return None
    low, high = min(around, key=lambda loop: loop[1] - loop[0])
    total = collections.Counter(names[low : high + 1])
    for (first, last), times in zip(inner, repeats, strict=False):
        for name, number in collections.Counter(names[first : last + 1]).items():
            total[name] += (times - 1) * number
    return total


def count_step(source, kernel, step, cubin_parts):
    """Return a tile step's instructions per entry and layer by kind, or None.

    Parameters
    ----------
    source : str
        Of all kernels.
    kernel : str
        Name of the step's.
    step : KeepTiles, PoolTiles or SumTiles
        With its chain and its tile.
    cubin_parts : dict
        From :func:`disassemble`.

    Returns
    -------
    dict of str to float
        "all", and the kinds of ``KINDS``.
    """
    body = source.partition(f" {kernel}(")[2].partition("\n}\n")[0]
    layers = sum(layer.startswith("Dual") for layer in step.chain.layers)
    entries = step.tile.rows * step.tile.columns
    tile = count_tile(*cubin_parts[kernel], [int(n) for n in re.findall(r"Repeat<(\d+),", body)])
    if tile is None or not layers:
        return None
    each = {kind: sum(tile[name] for name in names) for kind, names in KINDS.items()}
    return {kind: n / entries / layers for kind, n in {"all": tile.total(), **each}.items()}


def count_network(source, kernels, steps, entries, cubin, disassembler):
    """Return a network's instructions per entry and layer by kind, or None.

    Parameters
    ----------
    source, kernels : str, sequence of str
        Of the network's program.
    steps : sequence
        Its steps, one for each kernel.
    entries : sequence of int
        Entries of layers of each stage; a network whose steps are not its stages is not counted.
    cubin : bytes
        What was compiled.
    disassembler : str
        Path of nvdisasm.

    Returns
    -------
    dict of str to float, or None
    """
    if len(steps) != len(entries) or not all(hasattr(step, "tile") for step in steps):
        return None
    parts = disassemble(cubin, disassembler)
    counted = [
        count_step(source, kernel, step, parts) for kernel, step in zip(kernels, steps, strict=True)
    ]
    if not counted or any(each is None for each in counted):
        return None
    return {
        kind: sum(n * each[kind] for n, each in zip(entries, counted, strict=True)) / sum(entries)
        for kind in counted[0]
    }
