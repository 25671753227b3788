"""Fisher scoring within bounds: the search where the average information comes with each evaluation."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastard._arrays import Array

# The Levenberg parameter, a share of the information's diagonal: at the start, and by what it changes where the model of the
# objective holds well, holds badly, and fails.
_DAMPING, _RELAX, _TIGHTEN, _RETREAT = 1e-3, 0.2, 4.0, 10.0
_GOOD, _BAD = 0.75, 0.25  # shares of the gain foretold that a step brings
_MOST_DAMPING = 1e8

_LONGEST = 2.0  # step of a logarithm

_FLAT = 1e-10  # curvatures below this share of the diagonal are rounding errors


class Point(NamedTuple):
    """An evaluation: free logarithms (f,), the objective in nats, its gradient (f,) and the information (f, f)."""

    free_theta: Array
    value: float
    gradient: Array
    information: Array


class Outcome(NamedTuple):
    """Where the scoring has ended: the best point, nats left to gain there, and whether they are as few as was asked."""

    point: Point
    gain: float
    converged: bool


class _Coordinates:
    """Logarithms, but for length scales beyond a turn, where an input's effect is nearly linear in their -2nd power.

    Beyond the turn t = turn + (1 - exp(-2 (theta - turn))) / 2, which has the slope 1 there: a length scale that grows
    without end reaches its bound in one step, and what it has still to gain is seen to be little.
    """

    def __init__(self, turn: Array, bounds: Array) -> None:
        self.turn = turn
        self.low, self.high = self.of(bounds[:, 0]), self.of(bounds[:, 1])

    def of(self, theta: Array) -> Array:
        beyond = np.maximum(theta - self.turn, 0.0)
        result: Array = np.where(theta > self.turn, self.turn - 0.5 * np.expm1(-2.0 * beyond), theta)
        return result

    def theta(self, t: Array) -> Array:
        with np.errstate(divide="ignore"):
            result: Array = np.where(t > self.turn, self.turn - 0.5 * np.log1p(-2.0 * np.maximum(t - self.turn, 0.0)), t)
        return result

    def slope(self, theta: Array) -> Array:
        """dt / dtheta."""
        result: Array = np.exp(-2.0 * np.maximum(theta - self.turn, 0.0))
        return result


def ascend(
    evaluate: Callable[[Array, float], Point | None],
    start: Point,
    bounds: Array,
    turn: Array,
    *,
    little: float,
    most: int,
) -> Outcome:
    """Climb from ``start`` until less than ``little`` nats are left to gain.

    Parameters
    ----------
    evaluate : callable
        From free logarithms, and the gain foretold there, to a point; None where there is no value.
    start : Point
    bounds : ndarray, shape (f, 2)
    turn : ndarray, shape (f,)
        Beyond which a logarithm's -2nd power is moved; infinite for what is no length scale.
    little : float
        Nats.
    most : int
        Evaluations.
    """
    coordinates, point, damping = _Coordinates(turn, bounds), start, _DAMPING
    for _ in range(most):
        left = _step(point, coordinates, 0.0, np.inf)[1]
        if left < little:
            return Outcome(point, left, True)
        trial, foretold = _step(point, coordinates, damping, _LONGEST)
        theta = np.clip(coordinates.theta(trial), *bounds.T)
        theta = np.where(trial <= coordinates.low, bounds[:, 0], np.where(trial >= coordinates.high, bounds[:, 1], theta))
        found = evaluate(theta, left)
        share = -np.inf if found is None or foretold <= 0.0 else (found.value - point.value) / foretold
        if found is not None and share > 0.0:
            point = found
        if share >= _GOOD:
            damping *= _RELAX
        elif share < _BAD:
            damping = max(damping, _DAMPING) * (_RETREAT if share <= 0.0 else _TIGHTEN)
        # No step gains, however short; or one that would gain little ends where there is no value, and so do shorter ones
        if damping > _MOST_DAMPING or (found is None and foretold < little):
            break
    left = _step(point, coordinates, 0.0, np.inf)[1]
    return Outcome(point, left, left < little)


@np.errstate(all="ignore")  # an underflow of ours is nobody's error
def _step(point: Point, coordinates: _Coordinates, damping: float, longest: float) -> tuple[Array, float]:
    """The damped step of the quadratic model within the bounds: where it ends, in t, and what it gains there."""
    from scipy.optimize import lsq_linear  # takes long to import

    slope, t = coordinates.slope(point.free_theta), coordinates.of(point.free_theta)
    gradient, information = point.gradient / slope, point.information / np.outer(slope, slope)
    low = np.maximum(coordinates.low, t - longest) - t
    high = np.minimum(coordinates.high, t + longest) - t
    # In units of the curvatures, for a matrix with ones on its diagonal; and a minimum of squares within bounds. An average
    # information may have a diagonal below zero, by chance: its size is still a scale, but the rest tells nothing.
    diagonal = information.diagonal()
    scale = np.sqrt(np.where(diagonal != 0.0, np.abs(diagonal), 1.0))
    curved = diagonal > 0.0
    scaled = np.where(np.outer(curved, curved), information / np.outer(scale, scale), np.eye(t.size))
    # What its slope holds to a bound stays there: its slope, in these units, can be so large that all else is rounding.
    moving = ((gradient <= 0.0) | (high > 0.0)) & ((gradient >= 0.0) | (low < 0.0))
    step = np.zeros(t.size)
    if not moving.any():
        return t, 0.0
    unit = scale[moving]
    curvatures, directions = np.linalg.eigh(scaled[np.ix_(moving, moving)] + damping * np.eye(unit.size))
    # By chance an average information has a curvature below zero too, which is no smaller than what chance makes of it.
    root = np.sqrt(np.maximum(np.abs(curvatures), _FLAT))
    least = lsq_linear(
        root[:, np.newaxis] * directions.T,
        directions.T @ (gradient[moving] / unit) / root,
        (low[moving] * unit, high[moving] * unit),
        method="bvls",
    )
    step[moving] = np.clip(least.x / unit, low[moving], high[moving])
    along = directions.T @ (scale * step)[moving]
    below_zero = np.maximum(damping - curvatures, 0.0)
    gain = float(gradient @ step - 0.5 * (scale * step) @ scaled @ (scale * step) - below_zero @ along**2)
    return t + step, max(gain, 0.0)
