"""Milliseconds per entry of symmetric Gram matrices, next to those of other programs.

The other programs run in an environment of their own, under Python 3.11. This makes it, once, and
measures; run it alone on a quiet machine::

    python tests/benchmarks/peers.py --make-environment ~/gramserve-peers
    python tests/benchmarks/peers.py --python ~/gramserve-peers/bin/python

Neural Tangents is installed there. ckn_kernel takes part if it is there as well; it has to be built
by hand.

Before a kernel is timed, both programs compute it of the same items and have to agree. Both use all
cores: gramserve by threads, Neural Tangents by those of JAX, ckn_kernel by one process a core.
Neural Tangents computes every entry, the others every distinct pair once. Everything is compiled
before the clock starts. In each round gramserve and all ways to run the peer take turns, and the
best of the rounds counts.
"""

import argparse
import contextlib
import inspect
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import gramserve
from gramserve import compute_gram, layers, parse_kernel
from gramserve.kernels import choose_engine

SIDES = Path(__file__).with_suffix("")
CORES = len(os.sched_getaffinity(0))
SIDE, CHANNELS = 32, 3
# Above these sizes glibc takes the memory of each array from the system and hands it back at once;
# faulting the pages in again costs the peers up to half of their time. By default they are 128 KiB.
THRESHOLDS = {name: str(2**33) for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")}
AGREE = {"float64": 1e-6, "float32": 1e-3}
"""The largest difference allowed, over the largest value; the diagonals of NTKs need that much."""


@dataclass
class Case:
    """One kernel on both sides; ours is ``constant`` times theirs."""

    name: str
    spec: gramserve.KernelSpec
    peer: dict
    constant: float
    items: int
    """Items that gramserve is timed on."""
    peer_items: int
    """Items that the peer is timed on: every entry needs megabytes of it."""
    vectors: bool = False


def relu_case(name, network, preset, kernel, constant, sizes, **options):
    """Return a case of Neural Tangents from a preset of gramserve."""
    spec = parse_kernel({**preset, "kernel": kernel})
    if not isinstance(spec.layers[-1], layers.Dense):
        # Neural Tangents networks end so; it trains, which adds to an NTK.
        spec = spec.model_copy(update={"layers": (*spec.layers, layers.Dense())})
    peer = {"network": network, "kernel": kernel}
    return Case(f"{name}, {kernel.upper()}", spec, peer, constant, *sizes, **options)


def neural_tangents_cases(quick):
    """Myrtle networks, ten convolutions without a pool, and a fully connected network.

    Neural Tangents takes the mean over channels, our presets the sum: that is a factor for networks
    of relu. cntk moreover sums over the positions it flattens, and does not double its last layer.
    """
    pooled = (16, 2) if quick else (128, 4)
    flat = (64, 8) if quick else (512, 64)
    connected = (256, 256) if quick else (1024, 1024)
    positions = SIDE**2
    for depth in (5, 10):
        preset = {"preset": f"myrtle{depth}", "head": False}
        for kernel in ("nngp", "ntk"):
            yield relu_case(f"Myrtle{depth}", f"myrtle{depth}", preset, kernel, CHANNELS, pooled)
    preset = {"preset": "cntk", "depth": 11, "gap": False}
    constant = CHANNELS / 2 * positions
    yield relu_case("10 (conv, relu), flatten", "flatten", preset, "ntk", constant, flat)
    preset = {"preset": "fc", "depth": 3}
    numbers = positions * CHANNELS
    for kernel in ("nngp", "ntk"):
        name = f"fully connected, depth 3, {connected[0]} items"
        yield relu_case(name, "connected", preset, kernel, numbers, connected, vectors=True)


def ckn_cases(quick):
    """Two layers of 3 x 3 patches; both programs share their conventions."""
    sizes = (8, 8) if quick else (48, 48)
    for pooling in ("gaussian", "strided"):
        network = [
            {"npatch": 3, "subsampling": s, "kernel": "exp", "sigma": 0.65, "pooling": pooling}
            for s in (2, 5)
        ]
        spec = parse_kernel({"preset": "ckn", "layers": network})
        yield Case(f"CKN, exp, {pooling}", spec, {"layers": network}, 1.0, *sizes)


class Peer:
    """One way to run a program: the processes that do it and the precision that is timed.

    Values are compared in that and in whatever it can compute ``also_in``.
    """

    def __init__(self, label, precision, command, environment, processes=1, also_in=()):
        self.label, self.precision, self.also_in = label, precision, also_in
        kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed with the processes)
        self.processes = [
            subprocess.Popen(
                command,
                env=kept | environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors,
                text=True,
            )
            for _ in range(processes)
        ]
        hello, *_ = [self._answer(process) for process in self.processes]
        self.versions, self.missing = hello.get("versions"), hello.get("missing")

    def _answer(self, process):
        line = process.stdout.readline()
        if not line:
            self.errors.seek(0)
            sys.exit(f"{self.label}: the process ended\n{self.errors.read()[-3000:]}")
        return json.loads(line)

    def ask(self, ask, processes=None, **more):
        """Put a question to all processes at once, or to those named, and wait for the answers."""
        asked = self.processes if processes is None else processes
        for part, process in enumerate(asked):
            question = {"ask": ask, "part": part, "parts": len(asked), **more}
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
        return [self._answer(process) for process in asked]

    def values(self, case, items, out, precision):
        """Return the Gram matrix of the items in a file."""
        more = {"items": str(items), "out": str(out), "double": precision == "float64"}
        self.ask("values", self.processes[:1], case=case.peer, **more)
        return np.load(out)

    def prepare(self, case, items):
        """Compute once, unobserved."""
        self.ask("prepare", case=case.peer, items=str(items))

    def seconds(self):
        """Compute what was prepared; the slowest process counts."""
        return max(answer["seconds"] for answer in self.ask("run"))

    def close(self):
        """End the processes; they stop when they are asked nothing more."""
        for process in self.processes:
            process.stdin.close()
            process.wait()
            process.stdout.close()
        self.errors.close()


def neural_tangents(python):
    """Neural Tangents in both precisions, as it comes and with memory that is kept."""
    for note, environment in (("", {}), (", large malloc thresholds", THRESHOLDS)):
        for precision in ("float32", "float64"):
            command = [python, str(SIDES / "neural_tangents_side.py"), precision]
            yield Peer(f"{precision}{note}", precision, command, environment)


def ckn_kernel(python):
    """Run ckn_kernel on every core, as it comes and with memory that is kept."""
    command = [python, str(SIDES / "ckn_kernel_side.py")]
    for note, environment in (("", {}), (", large malloc thresholds", THRESHOLDS)):
        one = {"OMP_NUM_THREADS": "1", **environment}
        yield Peer(f"float32{note}", "float32", command, one, CORES, ["float64"])


def gram(spec, x, precision):
    """Compute the Gram matrix with gramserve, on all cores if it can."""
    threads = "threads" in inspect.signature(compute_gram).parameters
    return compute_gram(
        x, kernel=spec, precision=precision, **({"threads": CORES} if threads else {})
    )


def distance(found, wanted):
    """Return the largest difference over the largest value."""
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def check(case, peers, x, folder):
    """Return how far each peer is from gramserve in float64; stop if anything is too far."""
    items = folder / "few.npy"
    np.save(items, x)
    wanted = gram(case.spec, x, "float64")
    found = {("gramserve", "float32"): distance(gram(case.spec, x, "float32"), wanted)}
    for peer in peers:
        for precision in dict.fromkeys((peer.precision, *peer.also_in)):
            values = case.constant * peer.values(case, items, folder / "values.npy", precision)
            found[peer.label, precision] = distance(values, wanted)
    wrong = [
        f"{label} in {precision} by {far:.1e}"
        for (label, precision), far in found.items()
        if not far <= AGREE[precision]
    ]
    if wrong:
        sys.exit(f"{case.name}: values differ too much: {', '.join(wrong)}")
    return {peer.label: found[peer.label, peer.precision] for peer in peers}


def timed(work):
    """Return seconds that a call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(case, peers, rounds, folder):
    """Return seconds per entry by precision for gramserve, by label for peers, and distances."""
    shape = (SIDE * SIDE * CHANNELS,) if case.vectors else (SIDE, SIDE, CHANNELS)
    x = np.random.default_rng(0).normal(size=(max(case.items, case.peer_items), *shape))
    few = 4 if case.vectors or case.peer_items > 4 else case.peer_items
    far = check(case, peers, x[:few], folder)
    items = folder / "items.npy"
    np.save(items, x[: case.peer_items])
    for peer in peers:
        peer.prepare(case, items)
    ours = {peer.precision: np.inf for peer in peers}
    theirs = dict.fromkeys((peer.label for peer in peers), np.inf)
    mine = {precision: x[: case.items].astype(precision) for precision in ours}
    for _ in range(rounds):
        for precision, same in mine.items():
            took = timed(lambda p=precision, x=same: gram(case.spec, x, p))
            ours[precision] = min(ours[precision], took / case.items**2)
        for peer in peers:
            theirs[peer.label] = min(theirs[peer.label], peer.seconds() / case.peer_items**2)
    return ours, theirs, far


def milliseconds(seconds):
    """Three digits."""
    return f"{1000 * seconds:.3g}" if seconds >= 1e-6 else f"{1000 * seconds:.2e}"


def compare(program, cases, make_peers, rounds, folder):
    """Measure and print the rows of one program."""
    with contextlib.ExitStack() as open_peers:
        peers = []
        for peer in make_peers:
            open_peers.callback(peer.close)
            if peer.missing:
                print(f"{program} is not in that environment, left out: {peer.missing}\n")
                return
            peers.append(peer)
        print(f"{peers[0].versions}\n")
        print(f"| kernel | {program} | ms | gramserve, as precise | ms | times | differ by |")
        print("|---|---|---|---|---|---|---|")
        for case in cases:
            ours, theirs, far = measure(case, peers, rounds, folder)
            for peer in peers:
                mine = ours[peer.precision]
                engine, _ = choose_engine(case.spec, peer.precision, "auto")
                times = theirs[peer.label] / mine
                print(
                    f"| {case.name} | {peer.label} | {milliseconds(theirs[peer.label])} "
                    f"| {engine.name}, {peer.precision} | {milliseconds(mine)} "
                    f"| {times:.3g} | {far[peer.label]:.0e} |",
                    flush=True,
                )
    print()


def describe_machine():
    """Print what the numbers hold for."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if "model name" in line), "")
        print(f"{model or platform.processor()}, ", end="")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    print(f"{CORES} cores, {memory:.0f} GiB; {platform.platform()}")
    threads = "threads" in inspect.signature(compute_gram).parameters
    print(
        f"gramserve {gramserve.__version__} on {CORES if threads else 1} threads, "
        f"NumPy {np.__version__}, Python {platform.python_version()}; "
        f"load before the start {os.getloadavg()[0]:.2f}\n"
    )


def make_environment(folder):
    """Install Neural Tangents for Python 3.11; return the Python. What is there already stays."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run(["python3.11", "-m", "venv", folder], check=True)
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, "--requirement", SIDES / "requirements.txt"], check=True)
    return python


def main(python, make, rounds, quick, only):
    """Make what is missing, measure, print Markdown."""
    python = str((make_environment(make.expanduser()) if make else python).absolute())
    describe_machine()
    with tempfile.TemporaryDirectory() as folder:
        for program, cases, peers in (
            ("Neural Tangents", neural_tangents_cases, neural_tangents),
            ("ckn_kernel", ckn_cases, ckn_kernel),
        ):
            wanted = [case for case in cases(quick) if only in case.name]
            if wanted:
                compare(program, wanted, peers(python), rounds, Path(folder))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--python", type=Path, help="the Python of an environment with the peers")
    where.add_argument(
        "--make-environment", type=Path, dest="make", metavar="DIR", help="make it there first"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="few items: a trial, no measurement")
    parser.add_argument("--only", default="", help="kernels with these words in their name")
    main(**vars(parser.parse_args()))
