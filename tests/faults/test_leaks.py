"""Jobs leave nothing behind in the server; 200 of them by tests/benchmarks/leaks.py."""

import time

from resources import holdings_of, run_small_jobs

WARM, MEASURED = 8, 12
MIB = 2**20


def test_a_server_holds_no_more_after_many_jobs_than_after_few(faulty, table, talk):
    run_small_jobs(talk, range(WARM))
    before = holdings_of(faulty.pid)
    run_small_jobs(talk, range(WARM, WARM + MEASURED))
    end = time.monotonic() + 30
    # Pools of threads grow to their size, and with one a connection; half a file a job would not be
    # that. Connections and threads end a moment after the last answer.
    most = before.files + MEASURED // 2 - 1
    while (after := holdings_of(faulty.pid)).files > most and time.monotonic() < end:
        time.sleep(0.2)
    assert after.files <= most
    assert after.threads <= before.threads + 4  # pools grow to their size, which is small
    assert after.processes == before.processes
    # A job that is over leaves a row in the catalog; the server itself should not grow.
    assert after.resident_bytes - before.resident_bytes < MEASURED * MIB
