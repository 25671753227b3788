"""How often a fit ends in a poorer optimum than the best of many restarts, and how many restarts help.

``python -m benchmarks.starts --data FOLDER`` prints, per problem (set, kernel, random subset), how many nats below the best
a fit with few restarts ends, and the sums; FOLDER has the UCI sets, without which the others are taken.
"""

import argparse
from pathlib import Path

import numpy as np

import fastard
from benchmarks.report import markdown

FEW, MANY = (0, 1, 2, 5), 29  # restarts

MISSED = (0.1, 1.0, 10.0)  # nats


def _within(low, high, u):
    low, high = np.array(low), np.array(high)
    return (low + (high - low) * u).T


def borehole(u):
    """Flow through a borehole, 8 inputs (Worley 1987)."""
    low = [0.05, 100.0, 63070.0, 990.0, 63.1, 700.0, 1120.0, 9855.0]
    high = [0.15, 50000.0, 115600.0, 1110.0, 116.0, 820.0, 1680.0, 12045.0]
    rw, r, tu, hu, tl, hl, length, kw = _within(low, high, u)
    q = np.log(r / rw)
    return 2.0 * np.pi * tu * (hu - hl) / (q * (1.0 + 2.0 * length * tu / (q * rw**2 * kw) + tu / tl))


def piston(u):
    """Cycle time of a piston, 7 inputs (Kenett & Zacks 1998)."""
    low = [30.0, 0.005, 0.002, 1000.0, 90000.0, 290.0, 340.0]
    high = [60.0, 0.02, 0.01, 5000.0, 110000.0, 296.0, 360.0]
    m, s, v0, k, p0, ta, t0 = _within(low, high, u)
    a = p0 * s + 19.62 * m - k * v0 / s
    v = s / (2.0 * k) * (np.sqrt(a**2 + 4.0 * k * p0 * v0 * ta / t0) - a)
    return 2.0 * np.pi * np.sqrt(m / (k + s**2 * p0 * v0 * ta / (t0 * v**2)))


def wing_weight(u):
    """Weight of a light aircraft's wing, 10 inputs (Forrester, Sobester & Keane 2008)."""
    low = [150.0, 220.0, 6.0, -10.0, 16.0, 0.5, 0.08, 2.5, 1700.0, 0.025]
    high = [200.0, 300.0, 10.0, 10.0, 45.0, 1.0, 0.18, 6.0, 2500.0, 0.08]
    s, wf, a, sweep, q, taper, tc, nz, wd, wp = _within(low, high, u)
    c = np.cos(np.deg2rad(sweep))
    lift = s**0.758 * wf**0.0035 * (a / c**2) ** 0.6 * q**0.006 * taper**0.04
    return 0.036 * lift * (100.0 * tc / c) ** -0.3 * (nz * wd) ** 0.49 + s * wp


def otl_circuit(u):
    """Voltage of a push-pull circuit, 6 inputs (Ben-Ari & Steinberg 2007)."""
    b1, b2, f, c1, c2, beta = _within([50.0, 25.0, 0.5, 1.2, 0.25, 50.0], [150.0, 70.0, 3.0, 2.5, 1.2, 300.0], u)
    v, r = 12.0 * b2 / (b1 + b2), beta * (c2 + 9.0)
    return (v + 0.74) * r / (r + f) + 11.35 * f / (r + f) + 0.74 * f * r / ((r + f) * c1)


def robot_arm(u):
    """Distance of a robot arm's end, 8 inputs (An & Owen 2001)."""
    angles = np.cumsum(2.0 * np.pi * u[:, :4], axis=1)
    return np.hypot((u[:, 4:8] * np.cos(angles)).sum(axis=1), (u[:, 4:8] * np.sin(angles)).sum(axis=1))


def friedman(u):
    """Five inputs that matter (Friedman 1991), and as many more as u has."""
    return 10.0 * np.sin(np.pi * u[:, 0] * u[:, 1]) + 20.0 * (u[:, 2] - 0.5) ** 2 + 10.0 * u[:, 3] + 5.0 * u[:, 4]


def ishigami(u):
    """Three inputs (Ishigami & Homma 1990)."""
    x = np.pi * (2.0 * u - 1.0)
    return np.sin(x[:, 0]) * (1.0 + 0.1 * x[:, 2] ** 4) + 7.0 * np.sin(x[:, 1]) ** 2


def sobol_g(u):
    """Eight inputs, of which three matter (Saltelli & Sobol 1995)."""
    a = np.array([0.0, 1.0, 4.5, 9.0, 99.0, 99.0, 99.0, 99.0])
    return np.prod((np.abs(4.0 * u - 2.0) + a) / (1.0 + a), axis=1)


def sparse(u):
    """Four inputs that matter."""
    return np.sin(6.0 * u[:, 0]) + np.cos(9.0 * u[:, 1]) * u[:, 2] + 0.5 * u[:, 3] ** 2


def hartmann(u):
    """Six inputs (Hartmann 1973)."""
    scale = np.array(
        [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
    )
    centre = 1e-4 * np.array(
        [
            [1312, 1696, 5569, 124, 8283, 5886], [2329, 4135, 8307, 3736, 1004, 9991],
            [2348, 1451, 3522, 2883, 3047, 6650], [4047, 8828, 8732, 5743, 1091, 381],
        ]
    )  # fmt: skip
    return -np.exp(-(scale * (u[:, np.newaxis] - centre) ** 2).sum(axis=2)) @ np.array([1.0, 1.2, 3.0, 3.2])


def branin(u):
    """Two inputs (Dixon & Szego 1978)."""
    x, y = 15.0 * u[:, 0] - 5.0, 15.0 * u[:, 1]
    bend = y - 5.1 / (4.0 * np.pi**2) * x**2 + 5.0 / np.pi * x - 6.0
    return bend**2 + 10.0 * (1.0 - 1.0 / (8.0 * np.pi)) * np.cos(x) + 10.0


def welch(u):
    """20 inputs, of which a few matter much and most a little (Welch et al., Technometrics 34, 1992)."""
    x = np.column_stack([np.zeros(len(u)), u - 0.5])  # numbered from 1, as in the paper
    little = [(2, 0.05), (3, 0.08), (6, -0.03), (7, 0.03), (9, -0.09), (10, -0.01), (11, -0.07), (14, -0.04), (15, 0.06)]
    little += [(17, -0.01), (18, -0.03)]
    return (
        5.0 * x[:, 12] / (1.0 + x[:, 1]) + 5.0 * (x[:, 4] - x[:, 20]) ** 2 + x[:, 5] + 40.0 * x[:, 19] ** 3 - 5.0 * x[:, 19]
        + 0.25 * x[:, 13] ** 2 + sum(weight * x[:, i] for i, weight in little)
    )  # fmt: skip


# Function, inputs, points, noise in standard deviations, and levels of each input (0: continuous).
MADE_UP = {
    "borehole": (borehole, 8, 80, 0.0, 0),
    "piston": (piston, 7, 100, 0.0, 0),
    "wing weight": (wing_weight, 10, 100, 0.0, 0),
    "OTL circuit": (otl_circuit, 6, 60, 0.0, 0),
    "robot arm": (robot_arm, 8, 200, 0.0, 0),
    "Friedman": (friedman, 5, 60, 0.05, 0),
    "Friedman + 20": (friedman, 25, 150, 0.1, 0),
    "Friedman, 4 levels": (friedman, 5, 120, 0.05, 4),
    "Ishigami": (ishigami, 3, 80, 0.0, 0),
    "g-function": (sobol_g, 8, 150, 0.0, 0),
    "sparse": (sparse, 30, 150, 0.1, 0),
    "Hartmann": (hartmann, 6, 150, 0.0, 0),
    "Branin": (branin, 2, 60, 0.0, 0),
    "Welch": (welch, 20, 200, 0.0, 0),
}
UCI = {"yacht": 200, "energy": 200, "concrete": 200, "airfoil": 200, "pol": 200, "kin40k": 250}
SKLEARN = {"diabetes": 150, "breast_cancer": 200, "wine": 150, "iris": 120, "linnerud": 20}


def sets(folder, seed):
    """Name, X and y of all that are there."""
    for name, (function, d, n, noise, levels) in MADE_UP.items():
        random = np.random.default_rng([seed, *name.encode()])
        u = random.random((n, d))
        u = np.floor(u * levels) / (levels - 1) if levels else u
        y = function(u)
        yield name, u, y + noise * y.std() * random.standard_normal(n)
    for name, n, X, y in _real(folder):
        rows = np.random.default_rng([seed, *name.encode()]).permutation(len(X))[:n]
        yield name, X[rows], y[rows]


def _real(folder):
    for name, n in UCI.items() if folder else ():
        for path, header in ((folder / f"{name}.csv", 1), (folder / f"{name}.csv.gz", 0)):
            if path.exists():
                values = np.loadtxt(path, delimiter=",", skiprows=header)
                yield name, n, values[:, :-1], values[:, -1]
    try:
        from sklearn import datasets
    except ImportError:
        return
    for name, n in SKLEARN.items():
        X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        yield name, n, np.asarray(X, dtype=float), np.asarray(y, dtype=float).reshape(len(X), -1)[:, 0]


def compare(X, y, kernel):
    """Gaps in nats to the best and evaluations, for each of FEW restarts; and the best itself."""
    models = [fastard.fit(X, y, kernel=kernel, n_restarts=count, rng=1) for count in FEW]
    models.append(fastard.fit(X, y, kernel=kernel, n_restarts=MANY, rng=0))
    best = max(model.log_marginal_likelihood for model in models)
    return [best - m.log_marginal_likelihood for m in models[:-1]], [m.n_evaluations for m in models[:-1]], best


def main():
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.starts", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with the UCI sets")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0], help="of the random subsets (default: 0)")
    arguments = parser.parse_args()
    rows, gaps, evaluations = [], [], []
    for seed in arguments.seeds:
        for name, X, y in sets(arguments.data, seed):
            for kernel in ("rbf", "matern52"):
                gap, count, best = compare(X, y, kernel)
                rows.append([name, "×".join(map(str, X.shape)), kernel, f"{best:.2f}", *(f"{g:.2f}" for g in gap), count[0]])
                gaps.append(gap)
                evaluations.append(count)
    print(markdown(["set", "n × d", "kernel", "best", *(f"{count} restarts" for count in FEW), "evaluations"], rows))
    missed, cost = [(np.array(gaps) > nats).sum(axis=0) for nats in MISSED], np.array(evaluations)
    print(
        f"\nOf {len(rows)} problems, ending more than {', '.join(f'{nats:g}' for nats in MISSED)} nats below the best; "
        "evaluations over those of a single search:"
    )
    for i, count in enumerate(FEW):
        counts = ", ".join(str(of_each[i]) for of_each in missed)
        print(f"{count} restarts: {counts}; {np.median(cost[:, i] / cost[:, 0]):.2f} in the median")


if __name__ == "__main__":
    main()
