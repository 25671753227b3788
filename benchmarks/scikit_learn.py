"""scikit-learn's GaussianProcessRegressor against fastard's of the same name: the whole ``fit``, taking turns in one run.

``python -m benchmarks.scikit_learn --data FOLDER`` prints the tables of docs/scikit-learn.md. FOLDER holds the UCI sets as CSV
files (inputs, target last, a header) with a ``.test_mask.csv`` each, whose first column says which rows are held out.
``--pol`` trains on 9600 points of pol, which scikit-learn's n x n x d array does not let it: some 20 minutes.
"""

import argparse
import sys
import time
import warnings
from pathlib import Path

import numpy as np

from benchmarks import timing
from benchmarks.report import describe_machine, markdown, milliseconds, version
from benchmarks.timing import Contestant, best_times, ratio_of_best

REAL = ("yacht", "energy", "concrete", "airfoil")
SMALL = (50, 100, 150, 200)


def _kernels(d):
    from sklearn.gaussian_process.kernels import RBF, Matern, WhiteKernel

    return {"RBF": 1.0 * RBF(np.ones(d)) + WhiteKernel(), "Matérn 5/2": 1.0 * Matern(np.ones(d), nu=2.5) + WhiteKernel()}


def _regressors():
    from sklearn.gaussian_process import GaussianProcessRegressor

    from fastard.sklearn import GaussianProcessRegressor as Ours

    return {"scikit-learn": GaussianProcessRegressor, "fastard": Ours}


def _fit(regressor, kernel, X, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # parameters at their bounds
        return regressor(kernel, normalize_y=True).fit(X, y)


def small_problem(n):
    """Five inputs, of which two do not matter."""
    random = np.random.default_rng(n)
    X = random.uniform(size=(n, 5))
    y = np.sin(6.0 * X[:, 0]) + X[:, 1] ** 2 + X[:, 2] * X[:, 0] + 0.1 * random.standard_normal(n)
    return X, y


def real_problem(folder, name):
    """Standardised inputs and targets, training rows first, then those held out in the first split."""
    table = np.loadtxt(folder / f"{name}.csv", delimiter=",", skiprows=1)
    with open(folder / f"{name}.test_mask.csv") as file:
        held_out = np.array([line.split(",")[0].strip() for line in file if line[:1] in "01"], dtype=int) == 1
    if len(held_out) != len(table):
        raise ValueError(f"{name}: {len(held_out)} lines of the mask for {len(table)} of the data")
    return _standardised(table[~held_out], table[held_out])


def _standardised(training, test):
    center, scale = training.mean(axis=0), training.std(axis=0)
    scale[np.ptp(training, axis=0) == 0.0] = 1.0
    return tuple(
        part
        for table in (training, test)
        for part in ((((table - center) / scale)[:, :-1]), (table[:, -1] - center[-1]) / scale[-1])
    )


class Swap:
    """A small model's whole ``fit``: scikit-learn's time over ours."""

    params = (SMALL,)
    param_names = ("n",)
    timeout = 600
    unit = "times faster"

    def setup(self, n):
        try:
            self.regressors = _regressors()
        except ImportError:
            raise NotImplementedError("scikit-learn is not installed") from None

    def track_fit(self, n):
        X, y = small_problem(n)
        kernel = _kernels(5)["Matérn 5/2"]
        theirs, ours = (
            Contestant(lambda r=self.regressors[name]: _fit(r, kernel, X, y)) for name in ("scikit-learn", "fastard")
        )
        return ratio_of_best(theirs, ours, n)


def compare(X, y, X_test, y_test, kernel, total_seconds):
    """Best seconds, log marginal likelihood and root mean square error of each."""
    models = {name: _fit(regressor, kernel, X, y) for name, regressor in _regressors().items()}  # compiles, too
    bursts = {}
    for name, regressor in _regressors().items():
        bursts[name] = lambda regressor=regressor: timing.best_of_burst(lambda: _fit(regressor, kernel, X, y))
    seconds = best_times(bursts, len(X), total_seconds)
    errors = {name: np.sqrt(np.mean((model.predict(X_test) - y_test) ** 2)) for name, model in models.items()}
    return seconds, {name: model.log_marginal_likelihood_value_ for name, model in models.items()}, errors


def rows(problems, total_seconds):
    """One row a problem and kernel."""
    for label, (X, y, X_test, y_test) in problems:
        for name, kernel in _kernels(X.shape[1]).items():
            seconds, values, errors = compare(X, y, X_test, y_test, kernel, total_seconds)
            row = [
                label,
                len(X),
                X.shape[1],
                name,
                milliseconds(seconds["scikit-learn"]),
                milliseconds(seconds["fastard"]),
                f"{seconds['scikit-learn'] / seconds['fastard']:.1f}",
                f"{values['fastard'] - values['scikit-learn']:+.1e}",
                f"{errors['fastard'] / errors['scikit-learn']:.4f}",
            ]
            print(*row, sep="  ", file=sys.stderr, flush=True)  # it takes minutes
            yield row


def pol(folder, most):
    """9600 of pol's 15 000 rows (64 %, by seed 0), Matérn 3/2 with 26 length scales; tested on the other rows."""
    from sklearn.gaussian_process.kernels import Matern, WhiteKernel

    from fastard.sklearn import GaussianProcessRegressor

    table = np.loadtxt(folder / "pol.csv", delimiter=",", skiprows=1)
    table = table[np.random.default_rng(0).permutation(len(table))]
    n = int(0.64 * len(table))
    X, y, X_test, y_test = _standardised(table[:n], table[n:])
    evaluations = 0

    def counted(loss, theta, bounds):
        from scipy.optimize import minimize

        def one(theta):
            nonlocal evaluations
            evaluations += 1
            value = loss(theta)
            print(f"evaluation {evaluations}: {-value[0]:.2f}, {time.perf_counter() - start:.0f} s", flush=True)
            return value

        found = minimize(one, theta, method="L-BFGS-B", jac=True, bounds=bounds, options={"maxfun": most})
        return found.x, found.fun

    kernel = 1.0 * Matern(np.ones(X.shape[1]), nu=1.5) + WhiteKernel()
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = GaussianProcessRegressor(kernel, optimizer=counted, copy_X_train=False).fit(X, y)
    seconds = time.perf_counter() - start
    error = np.sqrt(np.mean((model.predict(X_test) - y_test) ** 2))
    print(f"pol: n = {n}, d = {X.shape[1]}: {evaluations} evaluations, {seconds:.0f} s, RMSE {error:.4f} (y standardised)")


def main():
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scikit_learn", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder with the UCI sets")
    parser.add_argument("--sets", nargs="*", default=REAL, choices=REAL, help="of the UCI sets, these (default: all four)")
    parser.add_argument("--sizes", nargs="*", type=int, default=SMALL, help=f"of the made-up problems (default: {SMALL})")
    parser.add_argument("--seconds", type=float, default=10.0, help="at least so long for each row")
    parser.add_argument("--pol", action="store_true", help="only pol")
    parser.add_argument("--evaluations", type=int, default=15000, help="at most so many for pol")
    arguments = parser.parse_args()
    print(f"{describe_machine()}, scikit-learn {version('scikit-learn')}\n")
    if arguments.pol:
        pol(arguments.data, arguments.evaluations)
        return
    problems = [(f"made up, n = {n}", (*small_problem(n), *small_problem(n + 1))) for n in arguments.sizes]
    if arguments.data is not None:
        problems += [(name, real_problem(arguments.data, name)) for name in arguments.sets]
    headings = ["data", "n", "d", "kernel", "scikit-learn, ms", "fastard, ms", "times faster", "Δℓ", "RMSE ratio"]
    print(markdown(headings, list(rows(problems, timing.EFFORT * arguments.seconds))))


if __name__ == "__main__":
    main()
