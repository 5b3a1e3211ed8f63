"""One network on one device: agreement with float64, then time."""

import statistics
import time
from dataclasses import asdict, dataclass, field

import numpy as np
from benchmarks.cuda_parts import baseline, card, sass
from benchmarks.cuda_parts.networks import entry_layers

from gramserve.arrays import namespace_of, to_host
from gramserve.kernels import Items, ReferenceEngine, item_keys
from gramserve.kernels.cuda.program import Program
from gramserve.kernels.cuda.steps import ChangeEntries
from gramserve.machine import usable_cores
from gramserve.stages import count_operations

MEMORY = 2**32
TOLERANCE = {"float32": 2e-5, "mixed": 2e-5, "float64": 1e-9}
"""Largest difference over largest value that a network may have; the aim for NNGP is 2e-6."""


@dataclass
class Row:
    """What was found of a network in one precision."""

    network: str
    precision: str
    differs: float | None = None
    pairs: int | None = None
    microseconds: float | None = None
    compile_seconds: float | None = None
    registers: int | None = None
    local_bytes: int | None = None
    entries: int = 0
    operations: int = 0
    state_bytes: int = 0
    instructions: dict[str, float] | None = None
    fault: str | None = None
    shares: dict[str, float] = field(default_factory=dict)

    @property
    def entries_per_second(self):
        """Entries of layers a second."""
        return self.microseconds and self.entries / self.microseconds * 1e6

    def hours_for(self, images):
        """Hours for all distinct pairs of some images, the diagonal included."""
        return self.microseconds and self.microseconds * images * (images + 1) / 2 / 3.6e9

    @property
    def is_right(self):
        """Whether it agrees with float64, as far as was looked at."""
        return self.fault is None and (
            self.differs is None or self.differs <= TOLERANCE[self.precision]
        )

    def set_shares(self, ceilings):
        """Say how much of each ceiling the time is: of the copy, and of counted instructions."""
        if not self.microseconds:
            return
        self.shares = {"copy": self.state_bytes / self.microseconds * 1e6 / ceilings["copy"]}
        names = {"issue": "all", "fma_f32": "floats", "shuffle": "shuffles", "root": "roots"}
        if self.instructions is not None:
            self.shares |= {
                ceiling: self.instructions[kind] * self.entries_per_second / ceilings[ceiling]
                for ceiling, kind in names.items()
            }

    @property
    def bound(self):
        """The ceiling that is nearest, where it is known."""
        is_known = "issue" in self.shares or self.shares.get("copy", 0) > 0.5
        return max(self.shares, key=self.shares.get) if is_known else ""

    def as_json(self):
        """Return everything as plain data."""
        derived = {"entry_layers_per_second": self.entries_per_second, "bound_by": self.bound}
        return {**asdict(self), **derived}


def items_of(engine, spec, x):
    """Return items with their variances, in float64 as for every precision."""
    variances = engine.variances(spec, x, "float64", memory_bytes=MEMORY, threads=usable_cores())
    return Items(x, variances, item_keys(x))


def compile_network(device, network, shape, precision):
    """Compile one network, or find it on disk; return the program and the seconds it took."""
    began = time.perf_counter()
    program = Program(device, network.spec, shape, precision)
    return program, time.perf_counter() - began


def state_bytes(program):
    """Return how many bytes of states one pair writes and reads, all steps together."""
    steps, layers = program.steps, 1 + program.tangent
    found = 0
    for step in steps.steps:
        touched = [step.reads, getattr(step, "writes", None)]
        if isinstance(step, ChangeEntries) or getattr(step, "adds", False):
            touched.append(step.writes)  # read before it is written
        for state in touched:
            if state is not None:
                form = steps.states[state]
                found += layers * form.entries * program.dtype_of(form).itemsize
    return found


def count_work(row, network, program, shape):
    """Add to a row what a pair of its network has of entries, operations and bytes."""
    row.entries = sum(entry_layers(network.spec, shape))
    row.operations = count_operations(network.spec, shape).planes.operations
    row.state_bytes = state_bytes(program)


def read_code(row, device, network, program, shape, disassembler):
    """Add to a row what the machine code on a card's disk says, where it is found."""
    cubin = None
    if hasattr(device, "index"):
        cubin = card.read_cubin(device, program.kernels.source)
    if cubin is None:
        return
    names = (*program.kernels.steps, *program.kernels.tail)
    row.registers, row.local_bytes = card.read_resources(cubin, names)
    if disassembler and row.precision == "float32":
        row.instructions = sass.count_network(
            program.kernels.source,
            program.kernels.steps,
            program.steps.steps,
            entry_layers(network.spec, shape)[:-1],
            cubin,
            disassembler,
        )


def difference(found, wanted):
    """Return the largest difference over the largest value, of all kernels."""
    gaps = [
        np.abs(found[name] - wanted[name]).max() / np.abs(wanted[name]).max() for name in wanted
    ]
    # NaN stays NaN, which is wrong.
    return float(np.max(gaps))


def truth(spec, items, count):
    """Return a few pairs in float64 by the reference engine, one item against itself included."""
    rows, columns = items[:count], items[: 2 * count]
    return ReferenceEngine().evaluate(spec, rows, columns, "float64", memory_bytes=MEMORY)


def check(engine, spec, items, count, precision, wanted):
    """Return by how much the engine differs on the same pairs, in symmetric blocks too."""
    every = items[: 2 * count]
    rectangle = engine.evaluate(spec, items[:count], every, precision, memory_bytes=MEMORY)
    square = engine.evaluate(spec, every, every, precision, memory_bytes=MEMORY)
    part = {name: values[:count] for name, values in square.items()}
    return max(difference(rectangle, wanted), difference(part, wanted))


def time_block(engine, spec, rows, columns, precision, rounds):
    """Return microseconds a pair of a block, from its items to its values on the host: median."""
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        engine.evaluate(spec, rows, columns, precision, memory_bytes=MEMORY)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) / (len(rows) * len(columns)) * 1e6


def time_network(engine, spec, items, precision, rounds):
    """Return microseconds a pair between the first and the second half of items, when warm."""
    half = len(items) // 2
    block = items[:half], items[half : 2 * half]
    # Once without the clock: memory pools grow, and kernels are loaded.
    time_block(engine, spec, *block, precision, 1)
    return time_block(engine, spec, *block, precision, rounds)


def time_baseline(device, spec, x, batch, count, rounds, wanted):
    """Return microseconds a pair of the dense baseline in float32, and by how much it differs.

    Parameters
    ----------
    device : gramserve.arrays.Device
        Whose arrays it uses.
    spec : KernelSpec
        The kernel.
    x : ndarray, (n, H, W, C)
        Items.
    batch : int
        Pairs at once.
    count : int
        Items of the pairs in ``wanted``.
    rounds : int
        Of which the median counts.
    wanted : ndarray, (count, 2 count)
        In float64.
    """
    stream = device.stream()
    with device.guard(), stream:
        items = device.upload(x[: 2 * max(batch, count)], stream)
        runs = range(0, len(items), batch)
        roots = [baseline.item_roots(spec, items[low : low + batch]) for low in runs]
        xp = namespace_of(items)
        roots = [xp.concatenate(parts) for parts in zip(*roots, strict=True)]

        def run(left, right):
            left, right = xp.asarray(left), xp.asarray(right)
            sides = ([each[index] for each in roots] for index in (left, right))
            return to_host(baseline.dense_kernel(spec, items[left], items[right], *sides))

        grid = np.indices((count, 2 * count)).reshape(2, -1)
        found = np.concatenate(
            [run(*grid[:, low : low + batch]) for low in range(0, grid.shape[1], batch)]
        )
        taken = []
        for _ in range(rounds + 1):
            began = time.perf_counter()
            run(np.arange(batch), np.arange(batch, 2 * batch))
            taken.append(time.perf_counter() - began)
    gap = np.abs(found.reshape(wanted.shape) - wanted).max() / np.abs(wanted).max()
    return statistics.median(taken[1:]) / batch * 1e6, float(gap)
