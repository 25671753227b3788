"""The Vecchia likelihood on a Dask cluster of this machine, beside the library's own threads: overhead, scaling, bytes.

``python -m benchmarks.vecchia_dask`` prints the table of docs/design/many_points.md: worker processes of one thread, and the
library's own threads, taking turns in one run. Bytes are what crosses the loopback device in an evaluation, the least of some.
``--smoke N`` makes one evaluation of so many points and their neighbours on two workers, and says what it took.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np

from benchmarks import timing
from benchmarks.many_points import DIMENSIONS, Clock, pair, points, resident
from benchmarks.report import describe_machine, markdown, version

NAMES = {"value + gradient": "__call__", "with information": "information"}
ROUNDS = 15


def cluster(workers: int):
    """A client of so many processes of one thread."""
    from distributed import Client, LocalCluster

    made = LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=0)
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


def overhead(n: int, neighbors: int, block_size: int) -> tuple[str, dict[int, list[str]]]:
    """The table of times, and of each number of workers the tasks of an evaluation."""
    import fastard

    X, y, length_scale = points(n)
    theta = np.log([*length_scale, 1.0, 0.01])
    options = {"kernel": "matern52", "length_scale": length_scale, "neighbors": neighbors, "block_size": block_size}
    clients = {workers: cluster(workers) for workers in (1, 2)}
    objectives = {f"{threads} thread{'s' * (threads > 1)}": (None, threads) for threads in (1, 2)}
    objectives |= {f"{workers} worker{'s' * (workers > 1)}": (clients[workers][0], 1) for workers in clients}
    built = {}
    for name, (client, threads) in objectives.items():
        built[name] = client, fastard.VecchiaLogLikelihood(X, y, n_threads=threads, client=client, **options)
    rows: list[list[object]] = []
    for what, attribute in NAMES.items():
        calls = {name: (client, getattr(objective, attribute)) for name, (client, objective) in built.items()}
        walls, cpus, sent = ({name: float("inf") for name in calls} for _ in range(3))
        for _ in range(timing.repeats(ROUNDS) + 1):
            for name, (client, call) in calls.items():
                timing.pause(n)
                before, bytes_before, clock = busy(client), loopback(), Clock()
                call(theta)
                walls[name] = min(walls[name], clock.read()[0])
                sent[name] = min(sent[name], float(loopback() - bytes_before))
                cpus[name] = min(cpus[name], busy(client) - before)
        for name, (client, _) in calls.items():
            cpus[name] -= asking(client)
            reference = "2 threads" if name.startswith("2") else "1 thread"
            rows.append(
                [
                    n, f"{neighbors}+{block_size}", what, name, f"{walls[name]:.3f}", f"{cpus[name]:.3f}",
                    f"{walls[name] / walls[reference]:.2f}", f"{cpus[name] / cpus[reference]:.2f}",
                    f"{sent[name] / 1e3:.0f}" if client else "",
                ]
            )  # fmt: skip
    tasks = {workers: len(built[f"{workers} worker{'s' * (workers > 1)}"][1]._shards._ranges) for workers in clients}
    for client, made in clients.values():
        client.close()
        made.close()
    headings = ["n", "blocks", "evaluation", "on", "wall, s", "CPU, s", "wall over threads'", "CPU over threads'", "kB"]
    return markdown(headings, rows), tasks


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
        text, tasks = overhead(n, neighbors, block_size)
        print(f"{text}\n\ntasks: " + ", ".join(f"{count} with {workers} workers" for workers, count in tasks.items()))
    if arguments.smoke:
        print(smoke(arguments.smoke, neighbors, block_size))


if __name__ == "__main__":
    main()
