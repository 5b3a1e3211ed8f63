"""The CUDA engine on one card: right first, then how fast, and how fast it could be.

One command, on a machine with a card and nothing but NumPy, SciPy, Numba, CuPy, pydantic and this
repository::

    python tests/benchmarks/cuda.py --out results

Every preset is compared with the reference engine in float64, then networks are timed from their
items to the values on the host. Ceilings of the card are measured in the same run, by kernels of
one kind of instruction, and so is the evaluation layer by layer in plain CuPy. ``cuda.md`` and
``cuda.json`` in the directory of ``--out`` hold the tables, rewritten as the run goes on.

``--dry`` takes the same paths on the CPU, with the stand-in that the tests have for a card, and
8 x 8 images: its times mean nothing. ``--count`` compiles the networks without a card, with NVRTC
from the extra ``dev``, and counts their instructions where nvdisasm is there.
"""

import argparse
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
# Python puts the directory of this file first, where it would hide the package that is called cuda.
sys.path[:] = [
    str(TESTS),
    str(TESTS.parent),
    *(p for p in sys.path if Path(p).name != "benchmarks"),
]


def parse(arguments=None):
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="Myrtle10 alone")
    parser.add_argument("--only", default="", help="networks with this in their name")
    parser.add_argument("--pairs", type=int, help="in a timed block; 65,536 or more otherwise")
    parser.add_argument("--images", type=int, default=60_000, help="that hours are projected for")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median counts")
    parser.add_argument(
        "--budget", type=float, default=400, help="seconds; then the rest is left out"
    )
    parser.add_argument("--out", type=Path, default=Path("cuda-benchmark"), help="directory")
    parser.add_argument("--nvdisasm", help="its path, where it is not found")
    parser.add_argument("--count", action="store_true", help="instructions alone, without a card")
    parser.add_argument("--dry", action="store_true", help="on the CPU, to try this script")
    parser.add_argument("--if-card", action="store_true", help="no card is no failure")
    return parser.parse_args(arguments)


def main(given):
    """Run; return the exit status."""
    from benchmarks.cuda_parts.counting import print_counts
    from benchmarks.cuda_parts.session import Session

    from gramserve.arrays import cuda_unavailable, find_devices

    if given.count:
        return print_counts(given)
    reason = cuda_unavailable()
    if given.dry:
        from cuda_shim import ShimDevice

        print(f"not run: {reason or 'a dry run was asked for'}; on the CPU instead, to try it")
        return Session(given, ShimDevice()).run()
    if reason is not None:
        print(f"not run: {reason}", file=sys.stdout if given.if_card else sys.stderr)
        return 0 if given.if_card else 1
    return Session(given, find_devices()[0]).run()


if __name__ == "__main__":
    sys.exit(main(parse()))
