"""A mean that is linear in its coefficients: its basis functions, and what they bring to predictions.

Universal kriging, R&W (2.37) to (2.42): with the coefficients' vague prior integrated out, the mean at x is
h(x)' c + k(x)' K^-1 (y - H c) at their generalised least squares estimate c, and the variance is larger by r' A^-1 r with
A = H' K^-1 H and r = h(x) - H' K^-1 k(x). All of it in a basis E = H T that is orthonormal over the training points.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastard import _text
from fastard import _validation as validate
from fastard._arrays import Array, read_only
from fastard._blas import one_blas_thread, solve
from fastard._engine.posterior import Predictions
from fastard._model.encoding import Encoding
from fastard._model.polynomial import Polynomial, polynomial
from fastard._objectives.likelihood import orthonormal

KINDS = ("linear", "quadratic", "basis")

_ROUNDING = 1e-14  # of the targets' largest magnitude


class MeanCoefficients(NamedTuple):
    """The coefficients of a model's mean; :meth:`fastard.GaussianProcess.mean_coefficients` makes it.

    Attributes
    ----------
    names : list of str
        The basis functions: 1, the inputs, their squares and products, of a category "material=wood" for each level but the
        first, of a periodic input "sin(2 pi wind/360)" and the cosine; or h0, h1 ... of an array or a callable.
    coefficients : ndarray, shape (p,), or (p, m) for m > 1 outputs
        Estimated by generalised least squares, in units of y over those of the basis functions.
    standard_errors : ndarray, shape (p,), or (p, m) where the outputs have variances of their own
        Of the coefficients of each output, at the trained hyperparameters.
    covariance : ndarray, shape (p, p), or (p, p, m)
        Between them.
    output_names : list of str
        The m outputs.
    """

    names: list[str]
    coefficients: Array
    standard_errors: Array
    covariance: Array
    output_names: list[str]

    def __repr__(self) -> str:
        p = len(self.names)
        columns = [[f"{value:.4g}" for value in column] for column in self.coefficients.reshape(p, -1).T.tolist()]
        errors = [[f"{error:.2g}" for error in column] for column in self.standard_errors.reshape(p, -1).T.tolist()]
        header = ["coefficient"] if len(columns) == 1 else self.output_names
        if len(errors) == 1:
            columns, header = [*columns, *errors], [*header, "±"]
        else:
            columns = [column for pair in zip(columns, errors, strict=True) for column in pair]
            header = [name for each in header for name in (each, "±")]
        rows = list(zip(self.names, *columns, strict=True))
        return _text.printable_lines(_text.table(("of", *header), rows, "<" + ">" * len(header)))


class Trend(NamedTuple):
    """The mean of a trained model."""

    kind: str  # one of KINDS
    polynomial: Polynomial | None  # of the other two
    function: Callable[[Array], Any] | None  # of a basis
    center: Array  # (d,), of the inputs before they are squared, and ...
    scale: Array  # (d,), their unit
    transform: Array  # (p, p), T
    basis: Array  # (n, p), E
    coefficients: Array  # (p, m), of E
    solved: Array  # (n, p), K^-1 E
    factor: Array  # (p, p), C with C C' = E' K^-1 E

    def at(self, points: Array, given: Any) -> Array:
        """E's rows at the points (q, d), which must be in training's order of columns; ``given`` are those of an array."""
        validate.basis_of_points(self.kind, given, self.function is not None)
        if self.polynomial is not None:
            H = self.polynomial.at((points - self.center) / self.scale)
        else:
            value = given if self.function is None else self.function(points)
            name = "basis" if self.function is None else "what mean returns"
            H = validate.basis(name, value, len(points), len(self.transform))
        result: Array = H @ self.transform
        return result

    def added(self, found: Predictions, E: Array, gradients: Array | None, units: Array) -> Predictions:
        """Predictions whose outputs are the m residuals' and then K^-1 E's, with the mean, and what it adds to the variance.

        ``gradients`` (q, d, p) are E's by the points' coordinates, where those of the predictions are wanted. ``units`` (m,)
        are those of the residuals' standard deviations, where E's are in units of 1.
        """
        m = self.coefficients.shape[1]
        with np.errstate(all="ignore"):  # an underflow is nobody's error
            mean = found.mean[:, :m] + E @ self.coefficients
            if found.deviation.size == 0:
                return found._replace(mean=mean)
            U = self.spread(found.mean[:, m:], E)
            own = found.deviation[:, -1:]
            deviation = np.sqrt(own**2 + np.sum(U**2, axis=1, keepdims=True))
            of_all = deviation * units
            if gradients is None:
                return found._replace(mean=mean, deviation=of_all)
            mean_grad = found.mean_grad[..., :m] + gradients @ self.coefficients
            slopes = self.spread(found.mean_grad[..., m:], gradients)
            total = own * found.deviation_grad[..., -1] + np.einsum("qp,qdp->qd", U, slopes)
            slope = np.where(deviation > 0.0, total / np.where(deviation > 0.0, deviation, 1.0), 0.0)
            return found._replace(
                mean=mean,
                deviation=of_all,
                mean_grad=mean_grad,
                deviation_grad=slope[..., np.newaxis] * units,
            )

    def spread(self, found: Array, E: Array) -> Array:
        """U (q, p), of which U U' is what the coefficients add to the points' covariance; ``found`` (q, p) is K_* K^-1 E.

        Of their derivatives, U's.
        """
        result: Array = (E - found) @ np.linalg.inv(self.factor).T
        return result

    def gradients(self, points: Array) -> Array:
        """Of E, (q, d, p), by the coordinates of the points (q, d)."""
        validate.differentiable_mean(self.kind)
        assert self.polynomial is not None
        slopes = self.polynomial.slopes((points - self.center) / self.scale) / self.scale[:, np.newaxis]
        result: Array = slopes @ self.transform
        return result

    def in_own_units(self, inputs: list[str], outputs: list[str], encoding: Encoding | None, units: Any) -> MeanCoefficients:
        """The coefficients of the basis functions of the inputs themselves.

        ``units``: of the targets' standard deviations, a number, or (m,) of outputs with own variances.
        """
        p, m = self.coefficients.shape
        to_own, names = self.transform, [f"h{i}" for i in range(p)]
        if self.polynomial is not None:
            to_own = self.polynomial.uncentred(self.center, self.scale) @ to_own
            names = self.polynomial.names(inputs, encoding)
        half = self.spread(np.zeros(p), to_own)
        covariance: Array = half @ half.T
        deviations, coefficients = np.sqrt(covariance.diagonal()), to_own @ self.coefficients
        return MeanCoefficients(
            names,
            coefficients[:, 0] if m == 1 else coefficients,
            np.multiply.outer(deviations, units),
            np.multiply.outer(covariance, units**2),
            outputs,
        )


def untrained(kind: str, mean: Any, X: Array, y: Array, inputs: list[str], encoding: Encoding | None) -> Trend:
    """The basis of a mean at the encoded training points X (n, d). The coefficients are least squares'."""
    d = X.shape[1]
    center, scale = np.zeros(d), np.ones(d)
    function: Callable[[Array], Any] | None = None
    of_inputs = polynomial(kind, d, encoding)
    if of_inputs is None:
        function = mean if callable(mean) else None
        if function is None:
            H = validate.basis("mean", mean, len(X))
        else:
            H = validate.basis("what mean returns", function(X), len(X))
        what = [f"column {i}" for i in range(H.shape[1])]
    else:
        center = X.mean(axis=0)
        with np.errstate(all="ignore"):  # an underflow is nobody's error
            deviations = X.std(axis=0)
        scale = np.where(validate.constant(X) | (deviations == 0.0), 1.0, deviations)
        H, what = of_inputs.at((X - center) / scale), of_inputs.names(inputs, encoding)
        H[:, 1 : 1 + of_inputs.linear.size][:, validate.constant(X)[of_inputs.linear]] = 0.0
    validate.independent(f"mean={kind!r}" if kind != "basis" else "mean", H, what)
    E, transform = orthonormal(H)
    nothing = np.empty((0, 0))
    return Trend(kind, of_inputs, function, center, scale, transform, read_only(E), E.T @ y, nothing, nothing)


def beside(trend: Trend, y: Array) -> Array:
    """What ordinary least squares leave of the targets (n, m); 0 where that is no more than rounding errors."""
    rest: Array = y - trend.basis @ (trend.basis.T @ y)
    rest[:, np.abs(rest).max(axis=0) <= _ROUNDING * np.abs(y).max(axis=0)] = 0.0
    return rest


def trained(trend: Trend, factor: Array, y: Array) -> tuple[Trend, Array, Array]:
    """With the coefficients of the targets y (n, m), for K's factor (n, n); y less the mean, and K^-1 times that."""
    m = y.shape[1]
    with one_blas_thread(), np.errstate(all="ignore"):
        first = trend.basis.T @ y  # ordinary least squares: what is left is not cancelled against a large mean
        rest = y - trend.basis @ first
        whitened = solve(factor, np.hstack([rest, trend.basis]))
        Y, H = whitened[:, :m], whitened[:, m:]
        triangle: Array = np.linalg.qr(H)[1]
        triangle *= np.where(triangle.diagonal() < 0.0, -1.0, 1.0)[:, np.newaxis]
        second = np.linalg.solve(triangle, np.linalg.solve(triangle.T, H.T @ Y))
        both = solve(factor, np.hstack([Y - H @ second, H]), transposed=True)
    alpha, solved = np.ascontiguousarray(both[:, :m]), np.ascontiguousarray(both[:, m:])
    found = trend._replace(coefficients=first + second, solved=solved, factor=np.ascontiguousarray(triangle.T))
    return found, read_only(rest - trend.basis @ second), alpha


def log_marginal_likelihood(trend: Trend, y: Array, alpha: Array, half_log_determinant: float, restricted: bool) -> float:
    """Of y (n, m), less the mean, as :func:`fastard.log_marginal_likelihood` has it."""
    n, m = y.shape
    count = n - len(trend.factor) if restricted else n
    value: float = -0.5 * float(np.sum(y * alpha)) - m * half_log_determinant - 0.5 * count * m * math.log(2.0 * math.pi)
    if restricted:
        value -= m * float(np.log(trend.factor.diagonal()).sum())
    return value


def with_points(trend: Trend, rows: Array) -> Trend:
    """With more points, of which ``rows`` (k, p) are E's: orthonormal over all of them."""
    E, transform = orthonormal(np.vstack([trend.basis, rows]))
    return trend._replace(basis=read_only(E), transform=trend.transform @ transform)
