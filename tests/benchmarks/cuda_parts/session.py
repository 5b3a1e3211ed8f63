"""One run of the benchmark: what it has found so far, and what it prints."""

import concurrent.futures
import contextlib
import subprocess
import time

import numpy as np
from benchmarks.cuda_parts import measure, networks, report, sass
from benchmarks.cuda_parts.ceilings import measure_ceilings

from gramserve.errors import GramserveError
from gramserve.kernels import Items
from gramserve.kernels.cuda import CudaEngine

PRECISIONS = ("float32", "mixed", "float64")
TIMED = ("float32", "mixed")
LIGHT = 300_000
"""Entries of layers below which a block has more pairs, to take long enough."""


def say(*words):
    """Print at once: a run that is stopped has said what it knew."""
    print(*words, flush=True)


class Session:
    """A device, the options, and the rows so far."""

    def __init__(self, given, device):
        self.given = given
        self.device = device
        self.engine = CudaEngine(device)
        self.rows = []
        self.disassembler = None if given.dry else sass.find_disassembler(given.nvdisasm)
        chosen = networks.TINY if given.dry else networks.by_weight(networks.NETWORKS)
        self.networks = [
            network
            for network in chosen
            if given.only.lower() in network.name.lower()
            and (network.is_quick or not given.quick or given.dry)
        ]
        self.aims = {network.name: network.aim for network in self.networks}
        self.side = 8 if given.dry else 32
        self.result = {
            "device": device.name,
            "architecture": device.architecture,
            "multiprocessors": device.multiprocessors,
            "dry": given.dry,
            "images": given.images,
            "versions": report.versions(),
            "remarks": [],
            "ceilings": {},
            "baseline": [],
        }
        if given.dry:
            self.remark("A dry run on the CPU: none of these times mean anything.")
        elif self.disassembler is None:
            self.remark("No nvdisasm here: instructions are not counted, nor shares of ceilings.")
        self._checked = {}
        self._began = time.perf_counter()

    def remark(self, text):
        """Keep a sentence for the report, and print it."""
        self.result["remarks"].append(text)
        say(text)

    def _shape(self, network):
        shape = (self.side, self.side, 3)
        return (int(np.prod(shape)),) if network.takes_vectors else shape

    def _images(self, network, count):
        return networks.images(count, self.side).reshape(count, *self._shape(network))

    def run(self):
        """Compile and check everything, then time it; return the exit status.

        Nothing is compiled while a clock runs, so networks whose kernels are not there at half of
        the time are left out.
        """
        if not self.networks:
            say(f"no network here has {self.given.only!r} in its name")
            return 1
        self._check_all(self.given.budget / 2)
        self._measure_ceilings()
        for network in self.networks:
            if network.name in self._checked and network.is_timed:
                if self._seconds() > self.given.budget:
                    self.remark(f"No time was left to time {network.name}.")
                else:
                    self._time(network)
        return self._finish()

    def _seconds(self):
        return time.perf_counter() - self._began

    def _check_all(self, until):
        workers = concurrent.futures.ThreadPoolExecutor(2 if self.given.dry else 8)
        compiled = {
            (network.name, precision): workers.submit(
                measure.compile_network, self.device, network, self._shape(network), precision
            )
            for network in self.networks
            for precision in PRECISIONS
        }
        try:
            for network in self.networks:
                if self._seconds() > until:
                    self.remark(f"No time was left to compile {network.name}.")
                else:
                    self._check(network, compiled)
        finally:
            workers.shutdown(cancel_futures=True)

    def _check(self, network, compiled):
        """Compare a network with float64 in every precision; faults are rows, too."""
        spec, shape = network.spec, self._shape(network)
        few = self._items(network, 4)
        wanted = measure.truth(spec, few, 2)
        rows = {precision: measure.Row(network.name, precision) for precision in PRECISIONS}
        self.rows += rows.values()
        for precision, row in rows.items():
            with self._faults_of(row):
                program, row.compile_seconds = compiled[network.name, precision].result()
                row.differs = measure.check(self.engine, spec, few, 2, precision, wanted)
                self._describe(row, network, program, shape)
            self._tell(row)
        self._checked[network.name] = rows, wanted
        self._save()

    def _describe(self, row, network, program, shape):
        measure.count_work(row, network, program, shape)
        try:
            measure.read_code(row, self.device, network, program, shape, self.disassembler)
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            # Times are worth having without.
            self.remark(f"The code of {row.network}, {row.precision} cannot be read: {error}")

    @contextlib.contextmanager
    def _faults_of(self, row):
        try:
            yield
        except (GramserveError, ArithmeticError, RuntimeError) as error:
            row.fault = f"failed: {' '.join(str(error).split())[:300]}"

    def _measure_ceilings(self):
        """Find what the card can do."""
        kinds = {"seconds": 0, "copied": 2**12, "tries": 1} if self.given.dry else {}
        self.result["ceilings"] = measure_ceilings(self.device, **kinds)
        for line in report.ceiling_lines(self.result["ceilings"]):
            say(line)
        self._save()

    def _time(self, network):
        rows, wanted = self._checked[network.name]
        entries = rows["float32"].entries
        many = self._items(network, 2 * self._block_side(entries))
        for precision in TIMED:
            row = rows[precision]
            if row.fault is None:
                with self._faults_of(row):
                    row.pairs = (len(many) // 2) ** 2
                    row.microseconds = measure.time_network(
                        self.engine, network.spec, many, precision, self.given.rounds
                    )
                    row.set_shares(self.result["ceilings"])
                self._tell(row)
        if network.is_dense:
            self._time_dense(network, wanted, rows["float32"].microseconds)
        self._save()

    def _block_side(self, entries):
        if self.given.pairs:
            return max(1, round(self.given.pairs**0.5))
        return 6 if self.given.dry else 1024 if entries < LIGHT else 256

    def _items(self, network, count) -> Items:
        return measure.items_of(self.engine, network.spec, self._images(network, count))

    def _time_dense(self, network, wanted, engine):
        batch = 2 if self.given.dry else 32
        (name,) = wanted
        try:
            taken, gap = measure.time_baseline(
                self.device,
                network.spec,
                self._images(network, 2 * batch),
                batch,
                2,
                self.given.rounds,
                wanted[name],
            )
        except (GramserveError, ArithmeticError, RuntimeError) as error:
            self.remark(f"The dense {network.name} failed: {error}")
            return
        self.result["baseline"].append(
            {"network": network.name, "microseconds": taken, "differs": gap, "engine": engine}
        )
        say(f"  layer by layer: {taken:.4g} us a pair, differs by {gap:.1e}")

    def _tell(self, row):
        words = [f"{self._seconds():5.0f} s  {row.network}, {row.precision}:"]
        if row.fault:
            words.append(row.fault)
        if row.differs is not None:
            words.append(f"differs by {row.differs:.1e}" + ("" if row.is_right else ", TOO MUCH"))
        if row.microseconds:
            hours = row.hours_for(self.given.images)
            words.append(f"{row.microseconds:.4g} us a pair, {hours:.3g} h, {row.pairs} pairs")
        words += [f"{100 * share:.0f} % of {name}" for name, share in row.shares.items()]
        say(" ".join(words))

    def _save(self):
        report.write(self.given.out, self.result, self.rows, self.aims)

    def _finish(self):
        """Print the tables; return the exit status."""
        self._save()
        say("")
        say(report.markdown(self.result, self.rows, self.aims))
        say(f"{self._seconds():.0f} s; written to {self.given.out}")
        wrong = [row for row in self.rows if not row.is_right]
        for row in wrong:
            say(f"WRONG: {row.network}, {row.precision}: {row.fault or row.differs}")
        return 1 if wrong else 0
