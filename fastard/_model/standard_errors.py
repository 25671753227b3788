"""How well the data determine the hyperparameters: the likelihood's curvature at the trained parameters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastard._arrays import Array
from fastard._blas import one_blas_thread, solve
from fastard._engine.cross import cross_covariance
from fastard._engine.hessian import Derivatives
from fastard._engine.terms import Term, central
from fastard._numba.cpu import ROWS
from fastard._numba.threads import thread_map
from fastard._objectives.likelihood import LogMarginalLikelihood
from fastard._parameters import AT_BOUND, AT_UPPER_BOUND, tied_groups
from fastard._progress import Progress
from fastard._text import listed, printable_lines, table
from fastard.kernels import curvature

_BLOCK_ENTRIES = 2**19  # of all arrays of a block of rows, which NumPy goes through one call after the other

_COLUMNS = 96  # of the factor at a time, in products with its inverse

_PART = 256  # of the columns that are divided by the factor at a time

_FLAT = 1e-2  # a curvature: a standard error of 10, in logarithms, beyond which the data say nothing of a direction

_SHARE = 1e-2  # of a flat direction's squares, from which a parameter takes part in it

_GAIN = 1e-2  # nats, from which the likelihood is not at a maximum

_VISIBLE = 0.05  # of a target's standard deviation, from which a change is one that a user would call an influence

METHODS = ("exact", "average_information")


class StandardErrors(NamedTuple):
    """Standard errors of the logarithms of the parameters; :meth:`fastard.GaussianProcess.standard_errors` makes it.

    The order is [length_scale ..., signal_variance, noise_variance, shape ...], P parameters in all. Entries of parameters
    that were fixed, stand at a bound, or are not determined by the data, are NaN.

    Attributes
    ----------
    names : list of str
        The parameters, P of them.
    standard_errors : ndarray, shape (P,)
        Of the natural logarithms: 0.1 is a tenth of the parameter, up or down.
    covariance, correlation : ndarray, shape (P, P)
        Between the logarithms; tied length scales have the correlation 1.
    """

    names: list[str]
    standard_errors: Array
    covariance: Array
    correlation: Array

    def __repr__(self) -> str:
        rows = [
            (name, "" if math.isnan(error) else f"{error:.3g}", shown_factor(math.exp(min(error, 700.0))))
            for name, error in zip(self.names, self.standard_errors.tolist(), strict=True)
        ]
        return printable_lines(table(("parameter", "standard error of its logarithm", "×/÷"), rows, "<>>"))

    def of(self, places: NDArray[np.int64]) -> StandardErrors:
        """Those of some of the parameters."""
        names = [self.names[i] for i in places]
        square = np.ix_(places, places)
        return StandardErrors(names, self.standard_errors[places], self.covariance[square], self.correlation[square])


def shown_factor(factor: float) -> str:
    """1.08, say; nothing where there is none."""
    return "" if math.isnan(factor) else f"{factor:.2f}" if factor < 100.0 else f"{factor:.0e}"


class Note(NamedTuple):
    """What a user is to know of standard errors: which parameters have none, or what is wrong with the fit."""

    about: Literal["parameters", "fit"]
    text: str


class Trained(NamedTuple):
    """What the curvature is computed from: the data, the trained parameters, and K's factor."""

    likelihood: LogMarginalLikelihood
    term: Term
    noise_variance: Any  # a number, or one for each of the likelihood's noise groups
    alpha: Array  # (n, m)
    factor: Array  # (n, n), L in the upper triangle, by rows
    own_variances: bool = False  # whether y is in units of each output's own variance, which was estimated beside

    def derivatives(self, groups: Array) -> Derivatives:
        """K's, by groups (g, P) of tied parameters."""
        own = self.likelihood
        return Derivatives(self.term, own.X, self.noise_variance, groups, own.n_threads, own.noise_groups)


def visible_influence(X: Array, y: Array, term: Term, threads: int = 1) -> NDArray[np.bool_]:
    """Which inputs the function can be seen to depend on, (d,).

    From one end of an input's range to the other, all else equal, it changes by sqrt(2 (k(0) - k(range))) in standard
    deviation: by more than a few hundredths of the standard deviation of some target.
    """
    d = X.shape[1]
    ranges = np.diag(X.max(axis=0) - X.min(axis=0))
    with np.errstate(all="ignore"):
        change = term.signal_variance - cross_covariance(term, ranges, np.zeros((1, d)), threads)[:, 0]
        least = float(np.var(y, axis=0).min(initial=np.inf))
    return np.asarray(2.0 * change > _VISIBLE**2 * least)


def standard_errors(
    trained: Trained,
    slots: NDArray[np.int64],
    names: list[str],
    method: str,
    progress: bool,
) -> tuple[StandardErrors, list[Note]]:
    """See :meth:`fastard.GaussianProcess.standard_errors`; ``slots`` is the model's. Also what a user is to be warned of."""
    found, notes = _from_curvature(trained, slots, names, method, progress)
    likelihood = trained.likelihood
    visible = visible_influence(likelihood.X, likelihood.y, trained.term)
    return found, notes_on_bounds(slots, names, visible, likelihood.basis is not None) + notes


def notes_on_bounds(
    slots: NDArray[np.int64], names: list[str], visible: NDArray[np.bool_], beyond_mean: bool = False
) -> list[Note]:
    """Of the parameters that stand at a bound; ``visible`` is the influence of each length scale's input, ``beyond_mean``."""
    notes: list[Note] = []
    idle = [i for i in np.flatnonzero(slots[: visible.size] == AT_UPPER_BOUND) if not visible[i]]
    held = [i for i in np.flatnonzero(slots <= AT_BOUND) if i not in idle]
    left_out = "left out, and the other standard errors are as if it were known"
    if idle:
        which = " beyond the mean" if beyond_mean else ""
        inputs = _named([name.replace("length_scale[", "").removesuffix("]") for name in names], idle)
        text = f"no visible influence{which} of the inputs {inputs}, whose length scales are at an upper bound: {left_out}"
        notes.insert(0, Note("parameters", text))
    if held:
        notes.insert(0, Note("parameters", f"{_named(names, held)} at a bound: {left_out}; widen its bounds or fix it"))
    return notes


def _named(names: list[str], places: Iterable[Any]) -> str:
    return listed(list(dict.fromkeys(names[i] for i in places)))  # encoded columns have the name of one column


def _from_curvature(
    trained: Trained, slots: NDArray[np.int64], names: list[str], method: str, progress: bool
) -> tuple[StandardErrors, list[Note]]:
    groups = tied_groups(slots)
    if len(groups) == 0:
        return from_information(np.zeros((0, 0)), groups, names)
    slope: Array | None = None
    # Threads of ours, each with its own products: BLAS's would be woken for each, and spin (1000 points in 10 dimensions took
    # 12 s that way while another job ran, and 0.7 s this way).
    with one_blas_thread() as alone, np.errstate(all="ignore"):
        if method == "exact":
            threads = trained.likelihood.n_threads if alone else 1
            slope, second = slope_and_hessian(trained, groups, progress, threads)
            information = -second
        else:
            information = average_information(trained, groups)
        if trained.own_variances:
            information -= information_of_variances(trained, groups)
    return from_information(information, groups, names, slope)


def from_information(
    information: Array, groups: Array, names: list[str], slope: Array | None = None
) -> tuple[StandardErrors, list[Note]]:
    """From the curvature (g, g) by the groups of tied parameters (g, P), and the likelihood's slope (g,) where it is known."""
    notes: list[Note] = []
    covariance = np.full((len(names), len(names)), np.nan)
    if len(groups) == 0:
        return StandardErrors(names, covariance.diagonal().copy(), covariance, covariance.copy()), notes
    determined = _determined(information)
    kept = information[np.ix_(determined, determined)]
    try:
        half = np.linalg.inv(np.linalg.cholesky(kept))
        inverse = half.T @ half
    except np.linalg.LinAlgError:
        inverse = np.full_like(kept, np.nan)
    if not np.isfinite(inverse).all():
        text = (
            "the likelihood is not at a maximum of the free parameters, so they have no standard errors: train until it "
            "converges (after an update: refit), or fix the parameters that the data do not determine"
        )
        notes.append(Note("fit", text))
    elif slope is not None:
        steps = np.where(determined, 0.0, np.sign(slope))  # Newton's, and along what is flat one of 1
        steps[determined] = 0.5 * (inverse @ slope[determined])
        if (gain := float(slope @ steps)) > _GAIN:
            text = (
                f"the likelihood is not at a maximum: some {gain:.2g} nats are left to gain, and the standard errors are "
                "those of the curvature where it stands"
            )
            notes.append(Note("fit", text))
    if not determined.all():
        unknown = np.flatnonzero(groups[~determined].sum(axis=0))
        others = ", and the other standard errors are as if it were known" if determined.any() else ""
        notes.append(Note("parameters", f"the data do not determine {_named(names, unknown)}: left out{others}"))
    left = groups[determined]
    free = left.sum(axis=0) > 0.0
    covariance[np.ix_(free, free)] = left[:, free].T @ inverse @ left[:, free]
    deviations = np.sqrt(covariance.diagonal())
    return StandardErrors(names, deviations, covariance, covariance / np.outer(deviations, deviations)), notes


def _determined(information: Array) -> NDArray[np.bool_]:
    """Which parameters are left after those that make up a flat direction, until there is none; a steep one is left in.

    All are where some curvature overflows.
    """
    left = np.ones(len(information), dtype=bool)
    while left.any() and np.isfinite(information).all():
        curvatures, directions = np.linalg.eigh(information[np.ix_(left, left)])
        flat = np.abs(curvatures) < _FLAT
        share = np.sum(directions[:, flat] ** 2, axis=1)
        if not flat.any():
            break
        left[np.flatnonzero(left)[(share > _SHARE) | (share == share.max())]] = False
    return left


def slope_and_hessian(trained: Trained, groups: Array, progress: bool = False, threads: int = 1) -> tuple[Array, Array]:
    """First and second derivatives of the log marginal likelihood by the logarithms of groups (g, P) of tied parameters.

    With Q = alpha alpha' - K^-1, R&W (5.9) differentiated once more is, for m outputs,

        d^2 l / da db = m tr(K^-1 K_a K^-1 K_b) / 2 - alpha' K_a K^-1 K_b alpha + <Q, K_ab> / 2

    The traces take n^3 flops a group (`_traces`), the second term is twice the average information, and the last one pass
    over the pairs. Where the mean has basis functions, P stands in the place of the second term's K^-1, and of all where their
    coefficients are integrated out.
    """
    n = len(trained.alpha)
    said = Progress(progress, f"Hessian of {len(groups)} parameters", (len(groups) + 2.0) * n**3)
    slope, last = _slope_and_second_traces(trained)
    first = 0.5 * trained.alpha.shape[1] * _traces(trained, groups, said, threads)
    if trained.likelihood.mean_estimation == "reml":
        first += 0.5 * trained.alpha.shape[1] * _traces_of_mean(trained, groups)
    return groups @ slope, first - 2.0 * average_information(trained, groups) + groups @ last @ groups.T


def _traces(trained: Trained, groups: Array, said: Progress, threads: int) -> Array:
    """tr(K^-1 K_a K^-1 K_b) for all groups a and b, (g, g): <S_a, S_b> with S_a = L^-1 K_a L^-T.

    S is symmetric, and its lower triangle is made some rows at a time for all groups at once: so many that all of theirs
    together are one n x n array. The fewer, the more often K_a is made anew.
    """
    count, n = len(groups), len(trained.alpha)
    derivatives = trained.derivatives(groups)
    height = max(n // (count + 2), _BLOCK_ENTRIES // (n * (count + 2)), 1)
    height = max(min(height, n) // ROWS, 1) * ROWS
    total = np.zeros((count, count))
    for start in range(0, n, height):
        stop = min(n, start + height)
        total += _traces_of_rows(trained.factor, derivatives, _inverse_rows(trained.factor, start, stop), start, threads)
        said.done((stop / n) ** 3)
    return total


def _traces_of_rows(factor: Array, derivatives: Derivatives, rows: Array, start: int, threads: int) -> Array:
    """What some ``rows`` (h, stop) of L^-1, the first of them row ``start``, add to the traces.

    Those rows of S_a: the rows times K_a, two thirds of n^3 flops a group for all rows, and times L^-T, a third.
    """
    S = derivatives.times(rows)  # S_a's row i at [:, a, i]
    stop, count, _ = S.shape
    flat = S.reshape(stop, -1)
    parts = [flat[:, low : low + _PART] for low in range(0, flat.shape[1], _PART)]  # as many for any number of threads

    def work(mine: Iterator[int]) -> None:
        for i in mine:
            _divide(parts[i], factor)

    thread_map(threads, len(parts), work)
    S[:start] *= math.sqrt(2.0)  # these elements stand for their mirror images too
    total = np.zeros((count, count))
    for low in range(0, stop, _COLUMNS):
        by_group = S[low : low + _COLUMNS].transpose(1, 0, 2).reshape(count, -1)
        total += by_group @ by_group.T
    return total


def _inverse_rows(factor: Array, start: int, stop: int) -> Array:
    """Rows start ... stop of L^-1, (stop - start, stop), by substitution from the right."""
    rows = np.zeros((stop - start, stop))
    rows[:, start:] = solve(np.ascontiguousarray(factor[start:stop, start:stop]), np.eye(stop - start))
    for high in range(start, 0, -_COLUMNS):
        low = max(0, high - _COLUMNS)
        known = rows[:, high:] @ factor[low:high, high:stop].T
        rows[:, low:high] = -solve(np.ascontiguousarray(factor[low:high, low:high]), known, right=True)
    return rows


def _divide(matrix: Array, factor: Array) -> None:
    """matrix (k, r) becomes the inverse of L's first k rows and columns times it, by substitution from the top."""
    for low in range(0, len(matrix), _COLUMNS):
        high = min(len(matrix), low + _COLUMNS)
        left = matrix[low:high] - factor[:low, low:high].T @ matrix[:low]
        matrix[low:high] = solve(np.ascontiguousarray(factor[low:high, low:high]), left)


def average_information(trained: Trained, groups: Array) -> Array:
    """alpha' K_a K^-1 K_b alpha / 2 for groups of tied parameters: (g, g), in O(n^2 d). With basis functions P is the inverse.

    The average of the observed and the expected information, less <Q, K_ab> / 2, whose expectation is 0: Gilmour, Thompson &
    Cullis, Biometrics 51 (1995), 1440-1450, for variance components.
    """
    n, m = trained.alpha.shape
    V = trained.derivatives(groups).times(trained.alpha.T)[:, :, :m]  # V[:, b] = K_b alpha
    V = solve(trained.factor, V.reshape(n, -1))
    W = _whitened_basis(trained)
    if W is not None:
        V = V - W @ (W.T @ V)
    V = V.reshape(n, -1, m)
    information: Array = 0.5 * np.einsum("jat,jbt->ab", V, V, optimize=True)
    return information


def information_of_variances(trained: Trained, groups: Array) -> Array:
    """What the curvature by groups (g, P) has less of where each output's variance s_t is not known but estimated, (g, g).

    By ln s_t it is y_t' alpha_t / 2, and by ln s_t and a parameter alpha_t' K_a alpha_t / 2: the rest is a Schur complement.
    """
    V = trained.derivatives(groups).times(trained.alpha.T)[:, :, : trained.alpha.shape[1]]
    across = np.einsum("jt,jat->at", trained.alpha, V)
    fits = np.sum(trained.likelihood.y * trained.alpha, axis=0)
    result: Array = 0.5 * (across / fits) @ across.T
    return result


def _whitened_basis(trained: Trained) -> Array | None:
    """Orthonormal columns W (n, p) that L^-1 takes the mean's basis to: P = L^-T (I - W W') L^-1. None without a basis."""
    if trained.likelihood.basis is None:
        return None
    W: Array = np.linalg.qr(solve(trained.factor, trained.likelihood.basis))[0]
    return W


def _traces_of_mean(trained: Trained, groups: Array) -> Array:
    """tr(P K_a P K_b) - tr(K^-1 K_a K^-1 K_b) for all groups, (g, g): <G_a, G_b> - 2 <F_a, F_b>, F_a = L^-1 K_a L^-T W and
    G_a = W' F_a."""
    W = _whitened_basis(trained)
    if W is None:
        return np.zeros((len(groups), len(groups)))
    n, p = W.shape
    B = solve(trained.factor, W, transposed=True)
    F = trained.derivatives(groups).times(np.ascontiguousarray(B.T))[:, :, :p]
    F = solve(trained.factor, F.reshape(n, -1))
    G = (W.T @ F).reshape(p, -1, p)
    F = F.reshape(n, -1, p)
    result: Array = np.einsum("iaj,ibj->ab", G, G, optimize=True) - 2.0 * np.einsum("iaj,ibj->ab", F, F, optimize=True)
    return result


def _slope_and_second_traces(trained: Trained) -> tuple[Array, Array]:
    """<Q, K_a> / 2 for all a, (P,), and <Q, K_ab> / 2 for all a and b, (P, P), in one pass over the pairs.

    With D_a the squared differences of a dimension and w_2 = -2 w', K_ab = sigma_f^2 (w_2 D_a D_b - 2 w D_a [a = b]).
    """
    likelihood, term, alpha = trained.likelihood, trained.term, trained.alpha
    parameters = (term.length_scale, term.signal_variance, trained.noise_variance, term.kernel)
    evaluation = likelihood.evaluate(*parameters, gradient=True)
    gradient = likelihood.assemble(evaluation, trained.noise_variance)
    inverse = likelihood.release()  # its upper triangle; P where the mean's coefficients are integrated out
    X, m = likelihood.X, alpha.shape[1]
    (n, d), P = X.shape, gradient.size
    shapes = P - len(term.kernel)
    U = (X - central(X)) / term.length_scale
    traces = np.zeros((P, P))
    step = max(1, _BLOCK_ENTRIES // (n * max(8, d)))
    for start in range(0, n, step):
        stop = min(n, start + step)
        K = cross_covariance(term, X[start:stop], X, likelihood.n_threads)
        ratios = curvature(term.kernel, _squared_distances(U[start:stop], U))
        Q = alpha[start:stop] @ alpha.T - m * inverse[start:stop]
        Q[:, :stop] = np.triu(Q[:, :stop], start + 1)  # a pair once; the diagonal counts nothing here
        Q *= K
        by_slope = Q * ratios.slope
        D = np.empty((d, stop - start, n))
        for p in range(d):
            np.subtract.outer(U[start:stop, p], U[:, p], out=D[p])
        D *= D
        D = D.reshape(d, Q.size)
        traces[:d, :d] += (D * (by_slope * ratios.second).ravel()) @ D.T
        for a in range(len(term.kernel)):
            traces[shapes + a, :d] += D @ (by_slope * ratios.w_by_shape[a]).ravel()
            for b in range(len(term.kernel)):
                traces[shapes + a, shapes + b] += np.sum(Q * ratios.k_by_shapes[a][b])
    traces[:d, shapes:] = traces[shapes:, :d].T
    scales = np.arange(d)
    traces[scales, scales] -= 2.0 * gradient[:d]
    noises = np.arange(d + 1, shapes)
    traces[d] += gradient * ~np.isin(np.arange(P), noises)  # K is proportional to the signal variance, and has no noise ...
    traces[:, d] += gradient * ~np.isin(np.arange(P), (d, *noises))
    traces[noises, noises] = gradient[noises]  # ... whose part is proportional to its own
    return gradient, traces


def _squared_distances(U: Array, V: Array) -> Array:
    """(p, n), from the differences: not from a product of matrices, which loses digits."""
    from scipy.spatial.distance import cdist

    if U.shape[1] == 0:
        return np.zeros((U.shape[0], V.shape[0]))
    return cdist(U, V, "sqeuclidean")  # type: ignore[no-any-return]
