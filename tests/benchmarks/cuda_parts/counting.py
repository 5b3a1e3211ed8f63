"""What is known of the networks without a card: machine code, registers, instructions."""

from benchmarks.cuda_parts import networks, sass
from benchmarks.cuda_parts.report import figure, table

from gramserve.kernels.cuda.program import lower_for

ARCHITECTURE = "sm_90"
WARPS_PER_SECOND = 132 * 4 * 1.98e9
"""Instructions of warps that an H200 issues at most: multiprocessors, schedulers, clock."""
HEAD = (
    "network, float32", "registers", "spilled bytes", "entry-layers a pair", "instructions",
    "of floats", "shuffles", "roots", "loads", "µs a pair at the full issue rate of an H200",
)  # fmt: skip


def count(network, disassembler):
    """Return the cells of one network: of its largest kernel, and means over its entries."""
    from cuda_resources import compile_for

    spec, shape = network.spec, (3072,) if network.takes_vectors else (32, 32, 3)
    steps, kernels, _ = lower_for(spec, shape, "float32")
    compiled = compile_for(kernels.source, ARCHITECTURE)
    entries = networks.entry_layers(spec, shape)
    found = None
    if disassembler:
        found = sass.count_network(
            kernels.source, kernels.steps, steps.steps, entries[:-1], compiled.cubin, disassembler
        )
    each = [found[kind] for kind in ("all", *sass.KINDS)] if found else [None] * 5
    bound = found and found["all"] * sum(entries) / 32 / WARPS_PER_SECOND * 1e6
    return (
        network.name,
        max(kernel.registers for kernel in compiled.kernels.values()),
        max(kernel.spill_stores for kernel in compiled.kernels.values()),
        f"{sum(entries):,}",
        *(figure(value) for value in each),
        figure(bound),
    )


def print_counts(given):
    """Print a table of all chosen networks; return the exit status."""
    disassembler = sass.find_disassembler(given.nvdisasm)
    if disassembler is None:
        print("nvdisasm is not here (--nvdisasm PATH): instructions are not counted", flush=True)
    chosen = [each for each in networks.NETWORKS if given.only.lower() in each.name.lower()]
    head, line = table(HEAD, [])
    print(head, line, sep="\n", flush=True)
    for network in chosen:
        if network.is_timed and (network.is_quick or not given.quick):
            print(table(HEAD, [count(network, disassembler)])[-1], flush=True)
    return 0
