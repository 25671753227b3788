"""What grows with the number of points: an evaluation, the search for neighbours, a training, and memory beside the data.

Each size has a process of its own, whose peak is measured. Times are of the wall and of the processors (of all threads); on a
machine that others use too, the latter are the steadier ones.

``python -m benchmarks.many_points`` prints the tables of docs/design/many_points.md, ``--plot FILE`` draws the growth, and
``--training`` adds whole trainings. What a cluster would take is extrapolated from the processor time of the largest size.
"""

import argparse
import json
import re
import time
from pathlib import Path

import numpy as np

from benchmarks import timing
from benchmarks.children import output_of
from benchmarks.report import describe_machine, markdown

SIZES = (10_000, 100_000, 1_000_000)
PAIRS = ((64, 16), (64, 32), (128, 32))
DIMENSIONS = 10
REPEATS = 5
WORKERS = (1, 4, 16, 64, 256)
EXTRAPOLATED = (10_000_000, 100_000_000)

_STATUS = Path("/proc/self/status")


def points(n: int, d: int = DIMENSIONS, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A sum of waves, smooth and of falling relevance, with noise of 0.1; and length scales that are near right."""
    random = np.random.default_rng([n, d, seed])
    X = random.uniform(size=(n, d))
    length_scale = np.geomspace(0.3, 3.0, d)
    y = 0.1 * random.standard_normal(n)
    shape = np.random.default_rng(1)
    for _ in range(20):
        y += 0.3 * np.cos(X @ (shape.standard_normal(d) / length_scale) + shape.uniform(0.0, 2.0 * np.pi))
    return X, y, length_scale


class Clock:
    """Seconds of the wall and of the processors since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        return time.perf_counter() - self._wall, time.process_time() - self._cpu


def best(call, most: int = REPEATS, least_seconds: float = 0.0) -> tuple[float, float]:
    """The least wall time and the least processor time of some calls: one turn may be good for one of them alone."""
    walls, cpus = [], []
    end = time.perf_counter() + timing.EFFORT * least_seconds
    while len(walls) < timing.repeats(most) or time.perf_counter() < end:
        clock = Clock()
        call()
        wall, cpu = clock.read()
        walls.append(wall)
        cpus.append(cpu)
    return min(walls), min(cpus)


def resident(field: str) -> float:
    """MB of this process: VmRSS now, VmHWM at most since it began, or since its mark was taken down."""
    match = re.search(rf"{field}:\s+(\d+)", _STATUS.read_text()) if _STATUS.exists() else None
    return int(match[1]) / 1024.0 if match else float("nan")


def take_down_mark() -> None:
    """Of the most memory, to what is held now."""
    clear = _STATUS.with_name("clear_refs")
    if clear.exists():
        clear.write_text("5")


def evaluation(n: int, neighbors: int, block_size: int) -> dict[str, object]:
    """In this process: the search for neighbours, evaluations, and the memory that they take beside X and y."""
    import fastard

    theta = np.log([*np.geomspace(0.3, 3.0, DIMENSIONS), 1.0, 0.01])
    X, y, length_scale = points(3000)
    small = fastard.VecchiaLogLikelihood(
        X, y, kernel="matern52", length_scale=length_scale, neighbors=neighbors, block_size=block_size
    )
    small(theta)  # compiled, and the threads started
    small.information(theta)
    X, y, length_scale = points(n)
    take_down_mark()
    before = resident("VmRSS")
    clock = Clock()
    objective = fastard.VecchiaLogLikelihood(
        X, y, kernel="matern52", length_scale=length_scale, neighbors=neighbors, block_size=block_size
    )
    whole = clock.read()
    few = REPEATS if n < 500_000 else 2
    found: dict[str, object] = {"n": n, "neighbors": neighbors, "block_size": block_size, "construction": whole}
    found["search"] = best(lambda: objective.find_neighbors(length_scale), 2 if n < 500_000 else 1)
    found["gradient"] = best(lambda: objective(theta), few)
    found["information"] = best(lambda: objective.information(theta), few)
    found["peak"] = resident("VmHWM") - before
    return found


def training(n: int) -> dict[str, object]:
    """In this process: a whole training with the defaults, compiled before."""
    import fastard

    X, y, _ = points(3000)
    fastard.fit_vecchia(X, y, rng=0)
    X, y, _ = points(n)
    take_down_mark()
    before = resident("VmRSS")
    clock = Clock()
    model = fastard.fit_vecchia(X, y, rng=0)
    return {
        "n": n,
        "training": clock.read(),
        "evaluations": model.n_evaluations,
        "converged": model.converged,
        "neighbors": model.neighbors,
        "block_size": model.block_size,
        "peak": resident("VmHWM") - before,
    }


def in_child(call: str) -> dict:
    """What a function of this file finds in a process of its own."""
    return json.loads(output_of(f"import json; from benchmarks import many_points; print(json.dumps(many_points.{call}))"))


def pair(times: tuple[float, float]) -> str:
    """Wall and processor time, in seconds."""
    return " / ".join(f"{seconds:.3g}" for seconds in times)


def growth(found: list[dict]) -> str:
    """A row for each size and pair; growth is that of processor time from a tenth of the points."""
    cpu = {(one["n"], one["neighbors"], one["block_size"]): one["gradient"][1] for one in found}
    rows: list[list[object]] = []
    for one in found:
        tenth = cpu.get((one["n"] // 10, one["neighbors"], one["block_size"]))
        rows.append(
            [
                one["n"], f"{one['neighbors']}+{one['block_size']}", pair(one["search"]), pair(one["gradient"]),
                pair(one["information"]), f"{one['information'][1] / one['gradient'][1]:.2f}",
                "" if tenth is None else f"{one['gradient'][1] / tenth:.1f}", f"{one['peak']:.0f}",
            ]
        )  # fmt: skip
    headings = [
        "n",
        "blocks",
        "neighbours, s",
        "value + gradient, s",
        "with information, s",
        "over gradient",
        "growth",
        "peak, MB",
    ]
    return markdown(headings, rows)


def trained(found: list[dict]) -> str:
    """A row for each size."""
    rows: list[list[object]] = [
        [
            one["n"], f"{one['neighbors']}+{one['block_size']}", pair(one["training"]), one["evaluations"],
            "yes" if one["converged"] else "no", f"{one['peak']:.0f}",
        ]
        for one in found
    ]  # fmt: skip
    return markdown(["n", "blocks", "training, s", "evaluations", "converged", "peak, MB"], rows)


def tasks_and_sums(n: int, neighbors: int, block_size: int, threads: int) -> tuple[int, int]:
    """How many tasks an evaluation on a cluster has, and how many rows of sums they send back."""
    from fastard._vecchia.blocks import Blocks
    from fastard._vecchia.cluster import shards

    starts = np.minimum(np.arange(0, n + block_size, block_size), n)
    row, tasks = shards(Blocks(np.empty(0, int), 0, starts, np.empty((0, neighbors), np.int32)), DIMENSIONS, threads)
    return len(tasks), sum(-(-(high - low) // row) for low, high in tasks)


def extrapolated(found: list[dict], d: int = DIMENSIONS) -> str:
    """Seconds of an evaluation with its information on w workers of one thread, and the bytes that go there and back.

    From the processor time a point at the largest size measured. To each worker go theta and to each shard its task, back come
    two sums, the gradient and the information. The first block, and a millisecond a task for the scheduler, are the client's.
    """
    largest = max(one["n"] for one in found)
    rows: list[list[object]] = []
    size = d + 2
    for one in found:
        if one["n"] != largest:
            continue
        for n in EXTRAPOLATED:
            for workers in WORKERS:
                tasks, sums = tasks_and_sums(n, one["neighbors"], one["block_size"], workers)
                seconds = one["information"][1] * n / largest / workers
                rows.append(
                    [
                        f"{n:.0e}".replace("e+0", "e"), f"{one['neighbors']}+{one['block_size']}", workers, tasks,
                        f"{seconds:.3g}", f"{0.001 * tasks:.2g}", f"{one['search'][1] * n / largest / workers:.3g}",
                        f"{8.0 * (d + 1) * n / 1e6:.0f}", f"{8 * size * tasks / 1e3:.3g}",
                        f"{8.0 * (2 + size + size**2) * sums / 1e3:.3g}",
                    ]
                )  # fmt: skip
    headings = [
        "n", "blocks", "workers", "tasks", "evaluation, s", "scheduler, s", "neighbours, s", "data to each, MB",
        "theta out, kB", "sums back, kB",
    ]  # fmt: skip
    return markdown(headings, rows)


def draw(found: list[dict], whole: list[dict], path: str) -> None:
    """Processor time by points, a line for each pair; the dotted lines grow as n does."""
    import matplotlib as mpl

    mpl.use("agg")
    mpl.rcParams["svg.hashsalt"] = "fastard"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7.0, 4.6), layout="constrained")
    pairs = list(dict.fromkeys((one["neighbors"], one["block_size"]) for one in found))
    colours = plt.get_cmap("viridis")(np.linspace(0.0, 0.8, len(pairs)))
    for (m, b), colour in zip(pairs, colours, strict=True):
        own = [one for one in found if (one["neighbors"], one["block_size"]) == (m, b)]
        for what, style in (("gradient", "o-"), ("search", "s--")):
            name = f"{m}+{b}, " + ("value and gradient" if what == "gradient" else "neighbours")
            axes.plot([one["n"] for one in own], [one[what][1] for one in own], style, color=colour, label=name)
        axes.plot(
            [own[0]["n"], own[-1]["n"]],
            [own[-1]["gradient"][1] * own[0]["n"] / own[-1]["n"], own[-1]["gradient"][1]],
            ":",
            color=colour,
            alpha=0.6,
        )
    if whole:
        axes.plot(
            [one["n"] for one in whole], [one["training"][1] for one in whole], "D-", color="firebrick", label="training"
        )
    axes.set(xscale="log", yscale="log", xlabel="points", ylabel="CPU time, s")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small")
    figure.savefig(path, metadata={"Date": None} if path.endswith(".svg") else None)
    plt.close(figure)


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_points", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of points")
    parser.add_argument("--training", type=int, nargs="*", default=[], metavar="N", help="whole trainings on so many points")
    parser.add_argument("--plot", metavar="FILE", help="draw processor time by points, SVG or PNG")
    parser.add_argument("--json", type=Path, help="keep all figures in this file; those it has already are not measured again")
    arguments = parser.parse_args(argv)
    print(describe_machine(), end="\n\n")
    calls = [f"evaluation({n}, {m}, {b})" for m, b in PAIRS for n in arguments.sizes]
    whole_calls = [f"training({n})" for n in arguments.training]
    kept = json.loads(arguments.json.read_text()) if arguments.json and arguments.json.exists() else {}
    for call in calls + whole_calls:
        if call not in kept:
            kept[call] = in_child(call)
            if arguments.json:
                arguments.json.write_text(json.dumps(kept, indent=1))
    found, whole = [kept[call] for call in calls], [kept[call] for call in whole_calls]
    print(f"Seconds are of the wall, two threads / of the processors.\n\n{growth(found)}")
    if whole:
        print(f"\n{trained(whole)}")
    print(f"\n{extrapolated(found)}")
    if arguments.plot:
        draw(found, whole, arguments.plot)


if __name__ == "__main__":
    main()
