"""Jobs leave nothing behind in the server; 200 of them by tests/benchmarks/leaks.py."""

import time

from resources import holdings_of, run_small_jobs

WARM, BATCH, BATCHES = 8, 6, 3
MIB = 2**20


def settled(pid, files):
    """What the server holds when it holds no more files than that, or after some seconds."""
    end = time.monotonic() + 10
    # Connections and threads end a moment after the last answer.
    while (now := holdings_of(pid)).files > files and time.monotonic() < end:
        time.sleep(0.2)
    return now


def test_a_server_holds_no_more_after_many_jobs_than_after_few(faulty, table, talk):
    run_small_jobs(talk, range(WARM))
    first = last = holdings_of(faulty.pid)
    # A pool grows to its size and stops; a leak grows with every batch.
    for batch in range(BATCHES):
        start = WARM + batch * BATCH
        run_small_jobs(talk, range(start, start + BATCH))
        before, last = last, settled(faulty.pid, last.files)
        if last.files <= before.files:
            break
    else:
        raise AssertionError(f"every {BATCH} jobs leave files open: {first}, {last}")
    assert last.threads <= first.threads + 4  # pools grow to their size, which is small
    assert last.processes == first.processes
    # A job that is over leaves a row in the catalog; the server itself should not grow.
    assert last.resident_bytes - first.resident_bytes < 2 * BATCH * MIB
