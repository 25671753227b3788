"""The Vecchia likelihood on a Dask cluster of this machine, beside the library's own threads: overhead, scaling, bytes.

``python -m benchmarks.vecchia_dask`` prints the table of docs/design/many_points.md: worker processes of one thread, and the
library's own threads, taking turns in one run. Bytes are what crosses the loopback device in an evaluation, the least of some;
the processors' seconds are medians, less what idle clusters take in the same time, which the line below the table tells.
``--smoke N`` makes one evaluation of so many points and their neighbours on two workers, and says what it took.
"""

import argparse
import os
import time
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import timing
from benchmarks.many_points import DIMENSIONS, Clock, pair, points, resident
from benchmarks.report import describe_machine, markdown, version

NAMES = {"value + gradient": "__call__", "with information": "information"}
ROUNDS = 15
PAUSE = 0.5  # seconds


def cluster(workers: int):
    """A client of so many processes of one thread."""
    from distributed import Client, LocalCluster

    made = LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=":0", memory_limit=0)
    return Client(made), made


def loopback() -> int:
    """Bytes that were sent to this machine itself since it started."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, counts = line.partition(":")
        if name.strip() == "lo":
            return int(counts.split()[8])
    return 0


def busy(client) -> float:
    """Processor seconds of this process, and of the workers."""
    return time.process_time() + (sum(client.run(time.process_time).values()) if client else 0.0)


def asking(client) -> float:
    """Processor seconds that it takes to ask for them."""
    return min(-busy(client) + busy(client) for _ in range(timing.repeats(10)))


class Turns:
    """One contestant's evaluations, each after a pause in which Dask takes of the processors what it takes idle."""

    def __init__(self, call, client) -> None:
        self._call, self._client, self._asking = call, client, asking(client)
        self.walls: list[float] = []
        self._busy: list[float] = []
        self._idle, self._paused, self.sent = 0.0, 0.0, float("inf")

    def take(self) -> None:
        before, clock = busy(self._client), Clock()
        time.sleep(PAUSE if timing.EFFORT else 0.01)
        between = busy(self._client)
        self._paused += clock.read()[0]
        self._idle += between - before - self._asking
        sent, clock = loopback(), Clock()
        self._call()
        self.walls.append(clock.read()[0])
        self.sent = min(self.sent, float(loopback() - sent))
        self._busy.append(busy(self._client) - between - self._asking)

    @property
    def idle(self) -> float:
        """Processor seconds a second."""
        return self._idle / self._paused

    @property
    def cpu(self) -> float:
        return float(np.median(np.array(self._busy) - self.idle * np.array(self.walls)))


def overhead(n: int, neighbors: int, block_size: int) -> str:
    """The table of times, and a line of each number of workers."""
    import fastard

    X, y, length_scale = points(n)
    theta = np.log([*length_scale, 1.0, 0.01])
    options = {"kernel": "matern52", "length_scale": length_scale, "neighbors": neighbors, "block_size": block_size}
    clusters = {count: cluster(count) for count in (1, 2)}
    built = {}
    for count, (client, _) in clusters.items():
        for name, where in ((f"{count} thread{'s' * (count > 1)}", None), (f"{count} worker{'s' * (count > 1)}", client)):
            built[name] = where, fastard.VecchiaLogLikelihood(X, y, n_threads=count, client=where, **options)
    rows: list[list[object]] = []
    for what, attribute in NAMES.items():
        turns = {name: Turns(partial(getattr(one, attribute), theta), client) for name, (client, one) in built.items()}
        for _ in range(timing.repeats(ROUNDS) + 1):
            for each in turns.values():
                each.take()
        for name, own in turns.items():
            reference = turns["2 threads" if name.startswith("2") else "1 thread"]
            rows.append(
                [
                    n, f"{neighbors}+{block_size}", what, name, f"{min(own.walls):.3f}", f"{own.cpu:.3f}",
                    f"{min(own.walls) / min(reference.walls):.2f}", f"{own.cpu / reference.cpu:.2f}",
                    f"{own.sent / 1e3:.0f}" if name.endswith(("worker", "workers")) else "",
                ]
            )  # fmt: skip
    lines = [
        f"{name}: {len(built[name][1]._shards._ranges)} tasks; idle, {turns[name].idle:.3f} s of the processors a second"
        for name in built
        if built[name][0]
    ]
    for client, made in clusters.values():
        client.close()
        made.close()
    headings = ["n", "blocks", "evaluation", "on", "wall, s", "CPU, s", "wall over threads'", "CPU over threads'", "kB"]
    return "\n".join([markdown(headings, rows), "", *lines])


def smoke(n: int, neighbors: int, block_size: int) -> str:
    """One evaluation and its neighbours on two workers."""
    import fastard

    X, y, length_scale = points(n)
    theta = np.log([*length_scale, 1.0, 0.01])
    client, made = cluster(2)
    before, clock = busy(client), Clock()
    objective = fastard.VecchiaLogLikelihood(
        X, y, kernel="matern52", length_scale=length_scale, neighbors=neighbors, block_size=block_size, client=client
    )
    built, found = (clock.read()[0], busy(client) - before), []
    for _ in range(2):
        before, clock = busy(client), Clock()
        value, _ = objective(theta)
        found.append((clock.read()[0], busy(client) - before))
    peaks = [resident("VmHWM"), *client.run(resident, "VmHWM").values()]
    client.close()
    made.close()
    lines = [
        f"n = {n}, d = {DIMENSIONS}, {neighbors}+{block_size}; seconds are of the wall / of the processors",
        f"data placed and neighbours found: {pair(built)} s",
        f"value and gradient: {pair(found[0])} s, then {pair(found[1])} s; the value is {value:.6g}",
        f"peaks: the client's {peaks[0]:.0f} MB with X and y, the workers' {peaks[1]:.0f} and {peaks[2]:.0f} MB",
    ]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vecchia_dask", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=[100_000], help="numbers of points (default: 100000)")
    parser.add_argument("--blocks", default="64+16", help="neighbours and block size (default: 64+16)")
    parser.add_argument("--smoke", type=int, metavar="N", help="one evaluation of so many points")
    arguments = parser.parse_args(argv)
    neighbors, block_size = map(int, arguments.blocks.split("+"))
    print(f"{describe_machine()}, distributed {version('distributed')}, load {os.getloadavg()[0]:.1f}", end="\n\n")
    for n in arguments.sizes:
        print(overhead(n, neighbors, block_size))
    if arguments.smoke:
        print(smoke(arguments.smoke, neighbors, block_size))


if __name__ == "__main__":
    main()
