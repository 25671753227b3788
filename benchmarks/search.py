"""How many evaluations a fit takes, in all and until it is nearly at its end, and where it ends.

``python -m benchmarks.search --data FOLDER`` counts over the problems of ``benchmarks.starts``; FOLDER has the UCI sets,
without which the others are taken. ``--save FILE`` keeps the counts and ends, and ``--against FILE`` compares with those of
another version: how many fits end lower or higher than they did there.
"""

import argparse
import json
from pathlib import Path

import numpy as np

import fastard
from benchmarks.report import markdown
from benchmarks.starts import sets

NEAR = (1.0, 0.1, 0.01, 1e-3)  # nats below the end

APART = 1e-3  # nats: ends that differ by more are told apart


def count(X, y, kernel, **options):
    """Of one fit: evaluations until it is within each of NEAR of its best, in all, and the best."""
    values = []
    fastard.fit(X, y, kernel=kernel, callback=lambda state: values.append(state.value), **options)
    reached = np.maximum.accumulate(values)
    return [int(np.argmax(reached >= reached[-1] - near)) + 1 for near in NEAR] + [len(values)], float(reached[-1])


def summary(counts):
    """Medians, and in brackets means."""
    both = zip(np.median(counts, axis=0), np.mean(counts, axis=0), strict=True)
    return [f"{median:g} ({mean:.1f})" for median, mean in both]


def main():
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with the UCI sets")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0], help="of the random subsets (default: 0)")
    parser.add_argument("--kernels", nargs="*", default=["rbf", "matern52"], help="names (default: rbf matern52)")
    parser.add_argument("--save", type=Path, help="JSON file for the counts and ends")
    parser.add_argument("--against", type=Path, help="such a file, to compare with")
    arguments = parser.parse_args()
    found = {}
    for seed in arguments.seeds:
        for name, X, y in sets(arguments.data, seed):
            for kernel in arguments.kernels:
                found[f"{name} {len(X)}×{X.shape[1]} {kernel} {seed}"] = count(X, y, kernel)
    heads = [*(f"to {near:g}" for near in NEAR), "in all"]
    rows = [[problem, *counts, f"{end:.3f}"] for problem, (counts, end) in found.items()]
    print(markdown(["set, n × d, kernel, seed", *heads, "end"], rows))
    print(f"\nOf {len(found)} fits, evaluations to so many nats below the end: medians, and means in brackets\n")
    summaries = [["this version", *summary([counts for counts, _ in found.values()])]]
    if arguments.save:
        arguments.save.write_text(json.dumps(found))
    if arguments.against:
        other = json.loads(arguments.against.read_text())
        both = [problem for problem in found if problem in other]
        summaries.append(["the other", *summary([other[problem][0] for problem in both])])
    print(markdown(["", *heads], summaries))
    if arguments.against:
        apart = {problem: found[problem][1] - other[problem][1] for problem in both}
        higher, lower = (sum(sign * gain > APART for gain in apart.values()) for sign in (1, -1))
        print(f"\nOf {len(both)} ends, {lower} are lower by more than {APART:g} nats and {higher} higher:")
        for problem, gain in sorted(apart.items(), key=lambda entry: entry[1]):
            if abs(gain) > APART:
                print(f"  {problem}: {gain:+.3f}")


if __name__ == "__main__":
    main()
