"""How fast rows come out of a finished Gram matrix, against uvicorn sending the same bytes.

Run it alone on a quiet machine::

    python tests/benchmarks/row_reads.py

A 5000 x 5000 float32 matrix of random numbers is stored, a real server started on it, and single
rows are asked for over keep-alive connections by a client in a process of its own. In between,
the same client asks a bare ASGI application on the same uvicorn for as many constant bytes. With
``--row-cache-bytes 0`` the server keeps no rows, so that every one comes from its files; by
default it has read all of them before the clock starts.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import uvloop
from live_server import LiveServer, child_environment, free_port

from gramserve.catalog import Catalog
from gramserve.spec import gram_address, parse_kernel
from gramserve.store import GramStore, StateLayout

BARE = """
import sys
import uvicorn

BODY = bytes(int(sys.argv[2]))
HEADERS = [(b"content-type", b"application/octet-stream"), (b"content-length", b"%d" % len(BODY))]


async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), loop="uvloop", http="httptools",
            lifespan="off", access_log=False, log_level="error")
"""


class Connection(asyncio.Protocol):
    """Asks one request after the other over one connection and notes how long each took."""

    def __init__(self, requests, deadline):
        self.requests = requests
        self.deadline = deadline
        self.latencies = []
        self.done = asyncio.get_running_loop().create_future()
        self._left = 0
        self._head = b""

    def connection_made(self, transport):
        self.transport = transport
        self._ask()

    def _ask(self):
        self._began = time.perf_counter()
        if self._began > self.deadline:
            self.transport.close()
            return
        self.transport.write(random.choice(self.requests))

    def data_received(self, data):
        if not self._left:
            self._head += data
            head, mark, rest = self._head.partition(b"\r\n\r\n")
            if not mark:
                return
            if not head.startswith(b"HTTP/1.1 200"):
                self.done.set_exception(RuntimeError(self._head.decode()))
                self.transport.close()
                return
            fields = head.lower().partition(b"content-length:")[2]
            self._left = int(fields.partition(b"\r\n")[0])
            self._head, data = b"", rest
        self._left -= len(data)
        if not self._left:
            self.latencies.append(time.perf_counter() - self._began)
            self._ask()

    def connection_lost(self, error):
        if not self.done.done():
            self.done.set_result(None)


async def load(port, paths, key, connections, seconds):
    """Return requests per second and latencies in seconds."""
    lines = f"Host: localhost\r\nAuthorization: Bearer {key}\r\nAccept: */*\r\n\r\n"
    requests = [f"GET {path} HTTP/1.1\r\n{lines}".encode() for path in paths]
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    opened = [
        (await loop.create_connection(lambda: Connection(requests, began + seconds), port=port))[1]
        for _ in range(connections)
    ]
    await asyncio.gather(*(connection.done for connection in opened))
    took = time.perf_counter() - began
    latencies = [latency for connection in opened for latency in connection.latencies]
    return len(latencies) / took, latencies


def client(port, paths, key, connections, seconds):
    """Run the load in a process of its own; its work must not slow the server's down."""
    words = [port, key, connections, seconds]
    answer = subprocess.run(
        [sys.executable, __file__, "--client", *map(str, words)],
        env=child_environment(PYTHONPATH=os.pathsep.join(sys.path)),
        input=json.dumps(paths).encode(),
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(answer.stdout)


def run_client(port, key, connections, seconds):
    """Be that process."""
    rate, latencies = uvloop.run(
        load(int(port), json.load(sys.stdin), key, int(connections), float(seconds))
    )
    milliseconds = 1000 * np.percentile(latencies, [50, 99])
    print(json.dumps([rate, *milliseconds.tolist()]))


async def store_matrix(root, count, block_size):
    """Store a finished matrix and make it known; return its id."""
    spec = parse_kernel("fc")
    digest = "d" * 64
    layout = StateLayout(root)
    layout.ensure()
    gram = gram_address(spec, "float32", digest, None, block_size)
    store = GramStore.create(
        layout.gram(gram), shape=(count, count), dtype="f4", block_size=block_size, symmetric=True
    )
    generator = np.random.default_rng(0)
    for i, j in store.planned_blocks():
        values = generator.standard_normal(store.header.extent(i, j), dtype=np.float32)
        store.write_block(i, j, np.triu(values) + np.triu(values, 1).T if i == j else values)
    async with await Catalog.open(layout.catalog) as catalog:
        await catalog.record_dataset(
            digest, shape=(count, 2), dtype="float32", items=count, bytes=8 * count
        )
        await catalog.record_gram(
            gram,
            kernel="nngp",
            spec=spec.canonical(),
            precision="float32",
            dataset=digest,
            rows=count,
            columns=count,
            block_size=block_size,
            symmetric=True,
            dtype="float32",
            path=str(layout.gram(gram)),
            blocks_total=store.block_count,
        )
    return gram


def main(count, block_size, rounds, seconds, row_cache_bytes):
    """Measure and print."""
    os.environ["GRAMSERVE_ROW_CACHE_BYTES"] = str(row_cache_bytes)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder) / "state"
        gram = asyncio.run(store_matrix(data_dir, count, block_size))
        paths = [f"/v1/grams/{gram}/rows?start={row}&stop={row + 1}" for row in range(count)]
        port = free_port()
        bare = subprocess.Popen([sys.executable, "-c", BARE, str(port), str(4 * count)])
        try:
            with LiveServer(data_dir, workers=0) as server:
                time.sleep(1)
                # Opens every file, and reads nearly every row at random.
                client(server.port, paths, server.key, 1, max(1, count // 1000))
                for connections in (1, 32):
                    for _ in range(rounds):
                        for name, where, what in (
                            ("bare uvicorn", port, ["/"]),
                            ("gramserve", server.port, paths),
                        ):
                            measured = client(where, what, server.key, connections, seconds)
                            results.setdefault((connections, name), []).append(measured)
        finally:
            bare.terminate()
            bare.wait()
    print(
        f"single rows of {count} float32, block size {block_size}, "
        f"{row_cache_bytes / 2**20:.0f} MiB for kept rows, medians of {rounds} rounds"
    )
    for (connections, name), measured in results.items():
        rate, p50, p99 = (statistics.median(numbers) for numbers in zip(*measured, strict=True))
        print(
            f"{connections:3d} connections, {name:13s} {rate:8.0f} rows/s   "
            f"p50 {p50:6.3f} ms   p99 {p99:6.3f} ms"
        )
    for connections in (1, 32):
        pairs = zip(
            results[connections, "gramserve"], results[connections, "bare uvicorn"], strict=True
        )
        ratio = statistics.median(ours[0] / theirs[0] for ours, theirs in pairs)
        print(f"{connections:3d} connections, gramserve / bare uvicorn: {ratio:.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--client"]:
        run_client(*sys.argv[2:])
    else:
        parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
        parser.add_argument("--count", type=int, default=5000)
        parser.add_argument("--block-size", type=int, default=1024)
        parser.add_argument("--rounds", type=int, default=5)
        parser.add_argument("--seconds", type=float, default=3.0)
        parser.add_argument("--row-cache-bytes", type=int, default=2**28)
        main(**vars(parser.parse_args()))
