"""SIGKILL at random moments, again and again, and what it costs.

::

    PYTHONPATH=tests python tests/benchmarks/kill_campaign.py --kills 100 --seed 0
    PYTHONPATH=tests python tests/benchmarks/kill_campaign.py --kills 20 --seed 0 --workers 2

A server, its Dask scheduler, a worker and the nanny of that worker are killed at random, alone
and together, while jobs run; whatever ended is started again, as a service manager does it. In
the end every matrix is compared bit for bit with one that was computed in peace. With
``--workers`` the scheduler and the nannies live in the server.
"""

import argparse
import tempfile
from pathlib import Path

from campaign import Campaign


def main():
    """Run a campaign and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        losses = Campaign(Path(folder), asked.seed, asked.workers).run(asked.kills)
    for parts, count in losses.kills.most_common():
        print(f"| {parts} | {count} |")
    print(f"{losses.strikes} kills survived in {losses.seconds:.0f} s")
    print(f"{losses.jobs} jobs of {losses.blocks} blocks in all, every value as without kills")
    print(f"{losses.repeated} attempts repeated, at most {losses.window} for each kill allowed")


if __name__ == "__main__":
    main()
