"""What many cores would make of an evaluation: the engine's schedule replayed on simulated workers, with task times of here.

The tasks, their order and what each one waits for are those of `fastard._engine.loops.schedule`; what one costs is measured by
calling the compiled pieces on tiles of the sizes in use. What this machine cannot show is assumed, each an option: how long a
worker takes to wake and to take a task, the last cache and the memory's bandwidth, which all workers share.

``python -m benchmarks.many_cores`` prints the table of docs/design/many_cores.md, and first how far the replay is from this
machine's own times on one thread and on two; ``--plot FILE`` draws it.
"""

import argparse
import time
from typing import NamedTuple

import numpy as np
from numba import njit

from benchmarks import timing
from benchmarks.implementations import fastard
from benchmarks.problems import make_problem
from benchmarks.report import describe_machine, markdown, milliseconds
from benchmarks.threads import CORES
from benchmarks.timing import Contestant, best_times
from fastard._arrays import Array
from fastard._engine import sizes
from fastard._engine.loops.pairs import contract_tile, corners, fill_tile, round_up, strip_space
from fastard._engine.loops.profiles import compiled
from fastard._engine.loops.schedule import (
    PANEL,
    PIVOT,
    PIVOT_INVERSE,
    RHS_PANEL,
    RHS_UPDATE,
    block_rows,
    panel_pieces,
    task_of,
    z_doubles,
)
from fastard._engine.loops.sweep import INVERSE, STEP, panel, pivot, pivot_inverse, update
from fastard._engine.workspace import Workspace
from fastard._numba.atomics import address_of
from fastard._numba.cpu import COLS, LANES, ROWS
from fastard.kernels import RBF

SIZES = (300, 500, 1000, 2000, 5000, 10_000, 20_000)
WORKERS = (1, 2, 4, 8, 16, 32, 64)

_LARGEST_MEASURED = 4000  # points: a walk over larger matrices finds no tile in another place than memory either
_LARGEST_CHECKED = 5000


class Assumptions(NamedTuple):
    """What this machine cannot show, in seconds and bytes."""

    wake: float = 20e-6  # until the first worker is there
    wake_each: float = 2e-6  # and each further one: the caller wakes one after the other
    take: float = 0.1e-6  # one step of the counter, which one worker at a time can make
    handover: float = 0.2e-6  # from one core's store to another one's load
    cache: float = 64e6  # the last cache: a matrix that fits is read from there at no cost beyond what was measured
    bandwidth: float = 200e9  # of memory, a second, all cores together
    patience: float = 400e-6  # before a waiting worker sleeps, for an eighth of what it has waited
    oversleep: float = 55e-6  # by which the system lets it sleep longer than that
    slow_workers: int = 0  # that take `slowness` times as long for everything: efficiency cores
    slowness: float = 2.0


# What a task costs, as `replay` takes it: (whole block, last block) of each.
PIVOT_COST, INVERSE_COST, PANEL_COST, UPDATE_COST, DIAGONAL_COST, FILL_COST, CONTRACT_COST = range(7)


@njit(nogil=True)
def _all_updates(A, z, panel_bytes, n, tile, depth, diagonal):
    a, leading = address_of(A), 8 * A.shape[1]
    for i in range((n + tile - 1) // tile):
        for j in range(i if diagonal else 0, i + 1 if diagonal else i):
            i0, i1, j0, j1 = corners(n, tile, i, j)
            update(
                z + i0 // COLS * panel_bytes, z + j0 // COLS * panel_bytes, panel_bytes, depth,
                a + 8 * i0 + j0 * leading, leading, i1 - i0, j1 - j0, 1.0, diagonal,
            )  # fmt: skip


@njit(nogil=True)
def _all_panels(A, z, l_rows, l_columns, panel_bytes, n, tile, b):
    """Of the middle pivot: half of them left of it, where the matrix is read transposed."""
    a, leading, tiles = address_of(A), 8 * A.shape[1], (n + tile - 1) // tile
    p0 = tiles // 2 * tile if b <= tile else 0
    p0 = min(p0, max(0, n - b) // COLS * COLS)
    for u in range(tiles):
        t0 = u * tile
        rows = round_up(min(n, t0 + tile) - t0, ROWS)
        left = t0 < p0
        source = a + t0 * leading + 8 * p0 if left else a + p0 * leading + 8 * t0
        panel(source, leading, left, 1.0, rows, b, l_rows, l_columns, z + t0 // COLS * panel_bytes, panel_bytes, INVERSE)


@njit(nogil=True)
def _all_fills(kernel, shape, U, A, diagonal, n, tile, scratch):
    for i in range((n + tile - 1) // tile):
        for j in range(i + 1):
            fill_tile(kernel, shape, 1.0, False, U, A, diagonal, False, n, tile, i, j, scratch)


@njit(nogil=True)
def _all_contractions(U, A, R, n, tile, scratch, totals, out):
    for i in range((n + tile - 1) // tile):
        for j in range(i + 1):
            contract_tile(U, U.shape[0], False, A, R, 1, n, tile, i, j, scratch, totals, out)


@njit(nogil=True)
def _one_pivot(A, b, S, z, l_rows, l_columns, panel_bytes, diagonal, out):
    return pivot(A, 0, b, S, z, l_rows, l_columns, panel_bytes, False, diagonal, 1.0, out)


@njit(nogil=True)
def _one_inverse(A, b, l_columns, panel_bytes):
    pivot_inverse(l_columns, panel_bytes, b, address_of(A), 8 * A.shape[1])


def _seconds(call, least=0.1):
    """The fastest of many calls on one thread, in the process's own time: others may use the machine too."""
    call()
    best, end = np.inf, time.perf_counter() + timing.EFFORT * least
    while True:
        start = time.process_time()
        call()
        best = min(best, time.process_time() - start)
        if time.perf_counter() > end:
            return best


def _elements(n, tile, diagonal):
    """Elements of the tiles that are on the diagonal, as whole squares, or below it."""
    edges = [min(n, start + tile) - start for start in range(0, n, tile)]
    squares = float(sum(edge**2 for edge in edges))
    return squares if diagonal else (float(n) ** 2 - squares) / 2.0


def task_times(n: int, d: int) -> Array:
    """Seconds of each kind of task, a row each, of a step with a whole block and of the last step.

    A panel's are those of one row, an update's, a fill's and a contraction's of one element (on the diagonal, of the whole
    square's).
    """
    tile, block = sizes.sizes(n)
    size = min(n, _LARGEST_MEASURED)
    assert sizes.sizes(size) == (tile, block), "larger matrices have the same tiles"
    workspace = Workspace(size, 1)
    A, R, S = workspace.buffer, workspace.rhs, workspace.pivot
    A[:] = 0.0
    workspace.space[:] = 0.0
    workspace.diagonal[:] = 1.0
    U = np.zeros((d, round_up(size, ROWS)))
    U[:, :size] = np.random.default_rng(0).standard_normal((d, size))
    scratch, totals, out = np.empty((2, strip_space(tile))), np.empty((d, LANES)), np.empty(d)
    z = workspace.space.ctypes.data
    l_rows = z + 8 * sizes.z_buffers(size) * z_doubles(size, 1, block)
    l_bytes = 8 * block_rows(size, block) ** 2
    l_columns, small_z = l_rows + l_bytes, l_rows + 2 * l_bytes
    times = np.zeros((7, 2))
    last = n - (n - 1) // block * block
    for column, b in enumerate((min(n, block), last)):
        panel_bytes = round_up(b, COLS) * STEP
        if size > tile:
            below, on = (
                _seconds(lambda on=on, b=b, width=panel_bytes: _all_updates(A, z, width, size, tile, b, on))
                for on in (False, True)
            )
            times[UPDATE_COST, column] = below / _elements(size, tile, False)
        else:
            on = _seconds(lambda b=b, width=panel_bytes: _all_updates(A, z, width, size, tile, b, True))
        times[DIAGONAL_COST, column] = on / _elements(size, tile, True)
        for j in range(b):
            A[j, j] = 2.0
        times[PIVOT_COST, column] = _seconds(
            lambda b=b, width=panel_bytes: _one_pivot(A, b, S, small_z, l_rows, l_columns, width, workspace.diagonal, out)
        )
        times[INVERSE_COST, column] = _seconds(lambda b=b, width=panel_bytes: _one_inverse(A, b, l_columns, width))
        times[PANEL_COST, column] = (
            _seconds(lambda b=b, width=panel_bytes: _all_panels(A, z, l_rows, l_columns, width, size, tile, b)) / size
        )
    kernel = compiled(RBF())
    elements = _elements(size, tile, False) + _elements(size, tile, True) / 2.0
    times[FILL_COST] = _seconds(lambda: _all_fills(*kernel, U, A, workspace.diagonal, size, tile, scratch)) / elements
    times[CONTRACT_COST] = _seconds(lambda: _all_contractions(U, A, R, size, tile, scratch, totals, out)) / elements
    return times


@njit(nogil=True)
def _noticed(now, ready, handover, patience, oversleep):
    """When a worker that looks from ``now`` on finds done what was so at ``ready``."""
    if ready <= now:
        return now
    if ready - now <= patience:
        return ready + handover
    waited = patience
    while now + waited < ready:
        waited += min(waited / 8.0, 500e-6) + oversleep
    return now + waited


@njit(nogil=True)
def replay(n, tile, block, buffers, workers, costs, assumed):
    """Seconds until the last task is done, and seconds of work in all tasks; `schedule.work` with the stages of a gradient.

    ``workers`` 0: as many as there are tasks, each awake at once, which leaves the longest chain of tasks that wait for each
    other. ``assumed`` is `Assumptions` as an array.
    """
    wake, wake_each, take, handover, cache, bandwidth, patience, oversleep = assumed[:8]
    slow_workers, slowness = int(assumed[8]), assumed[9]
    if workers == 0:
        patience = np.inf
    tiles, steps, per_block = (n + tile - 1) // tile, (n + block - 1) // block, block // tile
    from_memory = 8.0 * n * n > cache
    free = np.zeros(max(workers, 1))
    for w in range(1, workers):
        free[w] = wake + wake_each * w
    tile_done = np.zeros(tiles * (tiles + 1) // 2)
    panel_of, rhs_of = np.zeros(tiles), np.zeros(tiles)
    updates_done, panels_done = np.zeros(steps + 1), np.zeros(steps + 1)
    pivots, rhs_panel, counter, memory = 0.0, 0.0, 0.0, 0.0
    total, last_end = 0.0, 0.0
    for p in range(-1, steps):
        is_last = p == steps - 1
        first, after = p * per_block, min(tiles, (p + 1) * per_block)
        others, ahead, count, pieces = 0, 0, 1, 1
        if p >= 0:
            others, pieces = tiles - (after - first), panel_pieces(p, tile)
            following = min(per_block, tiles - after)
            ahead = following * (following + 1) // 2
            rows = tiles if is_last else others
            count = others * pieces + 2 + others + rows * (rows + 1) // 2 + (0 if is_last else 1)
        for q in range(count):
            kind, u, v = (PIVOT, 0, 0) if p < 0 else task_of(q, others, pieces, ahead, is_last)
            piece = v
            u, v = (after + u) % tiles, (after + v) % tiles
            worker = 0
            for w in range(1, workers):
                if free[w] < free[worker]:
                    worker = w
            now = free[worker] if workers > 0 else 0.0
            pace = slowness if workers > 0 and worker >= workers - slow_workers else 1.0
            if workers > 1:
                counter = max(counter, now) + take
                now = counter
            begun, moved = now, 0.0
            which = 1 if is_last else 0
            if kind <= PIVOT_INVERSE:
                work, ready = 0.0, pivots
                for s in range(first, after):
                    i, j = max(s, u), min(s, u)
                    if kind == RHS_PANEL:
                        ready = max(ready, rhs_of[s])
                    elif kind == PANEL and p == 0:
                        fill = costs[FILL_COST, 0] * _area(n, tile, i, j)
                        work += fill
                        now += fill * pace
                        moved += 16.0 * _area(n, tile, i, j)
                    elif kind == PANEL:
                        ready = max(ready, tile_done[i * (i + 1) // 2 + j])
                if p >= buffers:
                    ready = max(ready, updates_done[p - buffers])
                now = _noticed(now, ready, handover, patience, oversleep)
                if kind == PANEL:
                    height = tile // pieces
                    cost = costs[PANEL_COST, which] * max(0, min(n - u * tile - piece * height, height))
                    moved += 16.0 * height * block
                elif kind == RHS_PANEL:
                    cost = costs[PANEL_COST, which] * ROWS
                else:
                    cost = costs[INVERSE_COST, which]
                work += cost
                now += cost * pace
                if kind == PANEL:
                    panel_of[u] = now if piece == 0 else max(panel_of[u], now)  # the last piece to end
                    for s in range(first, after if piece == pieces - 1 else first):
                        i, j = max(s, u), min(s, u)
                        tile_done[i * (i + 1) // 2 + j] = panel_of[u]
                elif kind == RHS_PANEL:
                    for s in range(first, after):
                        rhs_of[s] = now
                    rhs_panel = now
                else:
                    for i in range(first, after):
                        for j in range(first, i + 1):
                            tile_done[i * (i + 1) // 2 + j] = now
                panels_done[p] = max(panels_done[p], now)
            elif kind == PIVOT:
                ready, work = 0.0, costs[PIVOT_COST, 1 if p + 1 == steps - 1 else 0]
                for i in range(after, min(tiles, after + per_block)):
                    for j in range(after, i + 1):
                        if p < 0:
                            fill = costs[FILL_COST, 0] * _area(n, tile, i, j)
                            work += fill
                        else:
                            ready = max(ready, tile_done[i * (i + 1) // 2 + j])
                if p >= 0:
                    ready = max(ready, panels_done[p])
                now = _noticed(now, ready, handover, patience, oversleep)
                now += work * pace
                pivots = now
            else:
                i, j = max(u, v), min(u, v)
                place, area = i * (i + 1) // 2 + j, _area(n, tile, i, j)
                outside = (i < first or i >= after) and (j < first or j >= after)
                work = 0.0
                if outside:
                    ready = rhs_of[u] if kind == RHS_UPDATE else tile_done[place]
                    if kind == RHS_UPDATE:
                        ready = max(ready, rhs_panel)
                        cost = costs[UPDATE_COST, which] * COLS * (min(n, u * tile + tile) - u * tile)
                    else:
                        cost = costs[DIAGONAL_COST if i == j else UPDATE_COST, which] * area * (2.0 if i == j else 1.0)
                        moved += 16.0 * area
                        if p == 0:
                            fill = costs[FILL_COST, 0] * area
                            work += fill
                            now += fill * pace
                    ready = max(ready, panel_of[i], panel_of[j])
                    now = _noticed(now, ready, handover, patience, oversleep)
                    work += cost
                    now += cost * pace
                    if kind == RHS_UPDATE:
                        rhs_of[u] = now
                    else:
                        tile_done[place] = now
                    updates_done[p] = max(updates_done[p], now)
                else:
                    now = _noticed(now, tile_done[place], handover, patience, oversleep)
                if kind != RHS_UPDATE and is_last:
                    ready = max(rhs_of[i], rhs_of[j])
                    now = _noticed(now, ready, handover, patience, oversleep)
                    cost = costs[CONTRACT_COST, 0] * area
                    work += cost
                    now += cost * pace
                    moved += 8.0 * area
            if from_memory and moved > 0.0 and workers > 1:
                memory = max(memory, begun) + moved / bandwidth
                now = max(now, memory)
            if workers > 0:
                free[worker] = now
            total += work
            last_end = max(last_end, now)
    return last_end, total


@njit(nogil=True)
def _area(n, tile, i, j):
    """Pairs of a tile: on the diagonal, of its lower half."""
    i0, i1, j0, j1 = corners(n, tile, i, j)
    return (i1 - i0) * (j1 - j0) * (0.5 if i == j else 1.0)


class Replay(NamedTuple):
    """One size's task times, and the seconds of Python around an evaluation."""

    n: int
    costs: Array
    python: float

    def seconds(self, workers: int, assumed: Assumptions, buffers: int | None = None) -> float:
        """An evaluation's time on so many workers; 0: on as many as there are tasks."""
        if buffers is None:
            buffers = 2 if self.n < sizes._ONE_BUFFER_FROM or workers >= sizes._TWO_BUFFERS_FROM_CORES else 1
        given = np.array(assumed, dtype=float)
        return self.python + float(replay(self.n, *sizes.sizes(self.n), buffers, workers, self.costs, given)[0])


def most_threads(n):
    """As many as fastard takes, if there are so many cores."""
    return n // sizes._POINTS_OF_THREAD if n >= sizes._SHARED_FROM else 1


def dimensions(n):
    """Of the benchmark's data."""
    return 5 if n < 500 else 10


def measured(n: int) -> Replay:
    """By calling the pieces."""
    return Replay(n, task_times(n, dimensions(n)), _seconds(fastard(make_problem(2, dimensions(n)))))


def check(found: Replay, assumed: Assumptions, total_seconds: float) -> list[object]:
    """This machine's time on one thread and on two, and the replay's over it."""
    problem = make_problem(found.n, dimensions(found.n))
    times = {1: _seconds(fastard(problem, n_threads=1), total_seconds / 2.0)}
    if CORES > 1:
        burst = Contestant(fastard(problem, n_threads=2)).burst
        burst()
        times[2] = best_times({"two": burst}, found.n, total_seconds / 2.0)["two"]
    row: list[object] = [found.n]
    for threads, best in times.items():
        row += [milliseconds(best), f"{found.seconds(threads, assumed) / best:.2f}"]
    return row


def efficiencies(found: Replay, assumed: Assumptions) -> list[float]:
    """The time on one worker over that on all of so many, and their number."""
    alone = found.seconds(1, assumed)
    return [alone / (workers * found.seconds(workers, assumed)) for workers in WORKERS]


def scaling_row(found: Replay, assumed: Assumptions) -> list[object]:
    """Times faster than one worker, how many threads fastard takes of 64 and how much faster it is on them; and the limit."""
    alone, threads = found.seconds(1, assumed), most_threads(found.n)
    return [
        found.n,
        milliseconds(alone),
        *(f"{alone / found.seconds(workers, assumed):.1f}" for workers in WORKERS[1:]),
        min(64, threads),
        f"{alone / found.seconds(min(64, threads), assumed):.1f}",
        f"{alone / found.seconds(0, assumed):.0f}",
    ]


def draw(found: list[Replay], assumed: Assumptions, path: str) -> None:
    """Efficiency by the number of workers, a line a size; a dot where fastard takes no more threads."""
    import matplotlib as mpl

    mpl.use("agg")
    mpl.rcParams["svg.hashsalt"] = "fastard"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7.0, 4.2), layout="constrained")
    colours = plt.get_cmap("viridis")(np.linspace(0.0, 0.92, len(found)))
    for one, colour in zip(found, colours, strict=True):
        axes.plot(WORKERS, efficiencies(one, assumed), "-", color=colour, label=f"n = {one.n}")
        most = most_threads(one.n)
        if most <= WORKERS[-1]:
            axes.plot(most, one.seconds(1, assumed) / (most * one.seconds(most, assumed)), "o", color=colour)
    axes.set(
        xscale="log", xticks=WORKERS, xticklabels=WORKERS, ylim=(0.0, 1.05), xlabel="workers (simulated)",
        ylabel="efficiency: speed-up / workers",
    )  # fmt: skip
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left", frameon=False)
    figure.savefig(path, metadata={"Date": None} if path.endswith(".svg") else None)
    plt.close(figure)


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_cores", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of points")
    parser.add_argument("--seconds", type=float, default=10.0, help="time spent on checking each size (default: 10)")
    parser.add_argument("--plot", metavar="FILE", help="draw efficiency by workers, SVG or PNG")
    for name, value in Assumptions()._asdict().items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=value, help=f"assumed (default: {value:g})")
    arguments = parser.parse_args(argv)
    assumed = Assumptions(*(getattr(arguments, name) for name in Assumptions._fields))
    print(describe_machine(), end="\n\n")
    found = [measured(n) for n in arguments.sizes]
    threads = [f"{word} thread{'s' if word == 'two' else ''}" for word in ("one", "two")[:CORES]]
    headings = ["n", *(part for thread in threads for part in (f"{thread}, ms", "replay / measured"))]
    print(markdown(headings, [check(one, assumed, arguments.seconds) for one in found if one.n <= _LARGEST_CHECKED]))
    headings = ["n", "one worker, ms", *map(str, WORKERS[1:]), "fastard's of 64", "faster", "longest chain"]
    print(f"\n{markdown(headings, [scaling_row(one, assumed) for one in found])}")
    if arguments.plot:
        draw(found, assumed, arguments.plot)


if __name__ == "__main__":
    main()
