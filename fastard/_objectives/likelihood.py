"""The log marginal likelihood and its gradient: Rasmussen & Williams (2006), equations (2.30) and (5.9)."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal, Required, TypedDict, Unpack, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastard import _validation as validate
from fastard._arrays import Array, read_only
from fastard._blas import one_blas_thread
from fastard._engine.evaluate import Evaluation, evaluate
from fastard._engine.sizes import Watch, announce, side_by_side
from fastard._engine.terms import Term as EngineTerm
from fastard._engine.terms import TermGradient, central
from fastard._engine.trend import evaluate_with_basis
from fastard._engine.workspace import Workspace, borrowed, spare_workspace
from fastard._numba.threads import thread_map
from fastard._objectives.terms import Sum, Term, as_kernel
from fastard.exceptions import NotPositiveDefiniteError
from fastard.kernels import Kernel

# A batch runs side by side only where that saves more than making the buffers costs, which for 2 thetas of n = 300 takes as
# long as evaluating them: points, and thetas times n^3.
_SIDE_BY_SIDE_FROM, _WORTH_BUFFERS = 160, 2e8


class Arguments(TypedDict, total=False):
    """What an objective takes beside the data, for type checkers."""

    length_scale: Required[ArrayLike]
    signal_variance: float
    noise_variance: float
    observation_variance: ArrayLike | None
    basis: ArrayLike | None
    kernel: str | Kernel
    n_threads: int | None


class LikelihoodArguments(Arguments, total=False):
    """What the likelihood takes beside."""

    mean_estimation: Literal["ml", "reml"]


@overload
def log_marginal_likelihood(
    X: ArrayLike, y: ArrayLike, *, eval_gradient: Literal[False] = ..., **arguments: Unpack[LikelihoodArguments]
) -> float: ...


@overload
def log_marginal_likelihood(
    X: ArrayLike, y: ArrayLike, *, eval_gradient: Literal[True], **arguments: Unpack[LikelihoodArguments]
) -> tuple[float, Array]: ...


def log_marginal_likelihood(
    X: ArrayLike,
    y: ArrayLike,
    *,
    length_scale: ArrayLike,
    signal_variance: float = 1.0,
    noise_variance: float = 1e-2,
    observation_variance: ArrayLike | None = None,
    basis: ArrayLike | None = None,
    mean_estimation: Literal["ml", "reml"] = "ml",
    kernel: str | Kernel = "rbf",
    eval_gradient: bool = False,
    n_threads: int | None = None,
) -> float | tuple[float, Array]:
    r"""Log marginal likelihood of a Gaussian process, of mean zero or with a linear model for a mean, and its gradient.

    .. math:: \ell = -\tfrac12 y^\top K^{-1} y - \tfrac12 \ln|K| - \tfrac n2 \ln 2\pi,
              \qquad K = \sigma_f^2 k + \mathrm{diag}(c) + \sigma_n^2 I

    Parameters
    ----------
    X : array-like, shape (n, d)
        Inputs.
    y : array-like, shape (n,) or (n, m)
        Targets; the mean is taken to be zero where there is no ``basis``. m outputs share the hyperparameters, and the value
        is their sum.
    length_scale : float or array-like, shape (d,)
        Length scales > 0, in units of the columns of X; a scalar is broadcast (the gradient stays per dimension).
    signal_variance, noise_variance : float
        Variances in units of y squared, > 0 and >= 0.
    observation_variance : array-like, shape (n,), optional
        Known variances c >= 0 added to the diagonal.
    basis : array-like, shape (n, p), optional
        Values of p basis functions at the points: the mean is H beta, with coefficients of its own for each output.
    mean_estimation : {"ml", "reml"}, default "ml"
        With a ``basis``: the value is the largest over beta, which is where generalised least squares puts it; or, restricted,
        that of what y has beside the basis, with beta integrated out under a flat prior. The latter is the log density of
        n - p orthonormal contrasts, R&W (2.45) plus ln|H'H| / 2, so that it does not depend on the basis functions' units.
    kernel : str or kernel object, default "rbf"
        "rbf", "matern12", "matern32", "matern52", "matern72", "rational_quadratic", or an object such as
        ``fastard.Matern52()``; see :mod:`fastard.kernels`.
    eval_gradient : bool, default False
        Whether to return the gradient too.
    n_threads : int, optional
        Threads for the compiled loops; all available by default. The result does not depend on it.

    Returns
    -------
    value : float
        The log marginal likelihood, in nats.
    gradient : ndarray, shape (d + 2 + p,)
        With ``eval_gradient``: derivatives with respect to the natural logarithms of length_scale, signal_variance,
        noise_variance, and the p shape parameters of the kernel. A noise_variance of 0 has the derivative 0.

    Raises
    ------
    ValueError, TypeError
        For a wrong argument; the message names it.
    NotPositiveDefiniteError
        If K is not positive definite to working precision, as it never is with equal rows that have no noise; nothing is
        jittered.

    References
    ----------
    Rasmussen & Williams, Gaussian Processes for Machine Learning (2006): equation (2.30), page 19, for the value and
    equation (5.9), page 114, for the gradient; section 2.7, page 27, for a mean.
    """
    objective = LogMarginalLikelihood(
        X, y, kernel=validate.as_kernel(kernel), observation_variance=observation_variance, basis=basis,
        mean_estimation=mean_estimation, n_threads=n_threads,
    )  # fmt: skip
    scales = validate.length_scales(length_scale, objective.X, objective._min_length_scales)
    signal = validate.number("signal_variance", signal_variance)
    noise = validate.number("noise_variance", noise_variance, may_equal=True)
    evaluation = objective.evaluate(scales, signal, noise, objective.kernel, gradient=eval_gradient)
    if not eval_gradient:
        return evaluation.log_marginal_likelihood
    return evaluation.log_marginal_likelihood, objective.assemble(evaluation, noise)


class LogMarginalLikelihood:
    r"""The log marginal likelihood as a function of the logarithms of its parameters, for optimisers and samplers.

    Built once from the data; its n x n buffer is allocated at the first call and used again, so that further calls
    allocate nothing of size n^2.

    Parameters
    ----------
    X, y, kernel, observation_variance, basis, mean_estimation, n_threads
        As for :func:`log_marginal_likelihood`. The kernel object's own shape parameters are only a starting point. The kernel
        may be a sum too, a dictionary of :class:`Term`, of which kernels and columns count.

    Attributes
    ----------
    n_parameters : int
        d + 2 + p. Of a sum of t terms the number of all their columns, t + 1, and that of all their shape parameters.

    Notes
    -----
    ``objective(theta)`` returns ``(value, gradient)`` of +l for theta, shape (d + 2 + p,), the natural logarithms of
    [length_scale ..., signal_variance, noise_variance, shape ...]; an entry of -inf for the noise stands for no noise. Of a
    sum it is [length scales of the first term, of the second ..., signal variances, noise_variance, shape parameters].
    It raises :class:`NotPositiveDefiniteError` as every other call does. It pickles (without its buffer). Of threads
    that share one, the first uses its buffer, the others each one of their own.

    Examples
    --------
    >>> import numpy as np, fastard
    >>> X = np.linspace(0.0, 1.0, 20)[:, None]
    >>> objective = fastard.LogMarginalLikelihood(X, np.sin(6.0 * X[:, 0]))
    >>> value, gradient = objective(np.log([0.3, 1.0, 0.01]))
    >>> gradient.shape
    (3,)
    """

    def __init__(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        kernel: str | Kernel | Mapping[str, Term] = "rbf",
        observation_variance: ArrayLike | None = None,
        basis: ArrayLike | None = None,
        mean_estimation: Literal["ml", "reml"] = "ml",
        n_threads: int | None = None,
    ) -> None:
        names = validate.names_of(X)
        self.X = read_only(validate.inputs(X).copy())
        n, d = self.X.shape
        self.y = read_only(validate.targets(y, n, d).reshape(n, -1).copy())
        self._shape = self.y.shape  # points, and what has to be solved for
        self.basis: Array | None = None  # with orthonormal columns
        self.mean_estimation = mean_estimation
        if mean_estimation != "ml":
            validate.mean_estimation(mean_estimation, basis is not None, "pass basis, or leave mean_estimation out")
        if basis is not None:
            H = validate.basis("basis", basis, n)
            validate.independent("basis", H, [f"column {i}" for i in range(H.shape[1])])
            self.basis = read_only(orthonormal(H)[0])
            self.y = read_only(self._beside_basis(self.y))
            self._shape = n, self.y.shape[1] + H.shape[1]
        self.kernel = as_kernel(kernel, names, d)
        known = validate.known_variances(observation_variance, n)
        self.observation_variance = None if known is None else read_only(known.copy())
        self.n_threads = validate.thread_count(n_threads)
        self.center = read_only(central(self.X))
        self._min_length_scales, signals = validate.min_length_scales(self.X), 1
        if isinstance(self.kernel, Sum):
            self._min_length_scales, signals = self._min_length_scales[self.kernel.all_columns], len(self.kernel.names)
        self._noise_place = self._min_length_scales.size + signals  # in theta
        self.n_parameters = self._noise_place + 1 + len(self.kernel)
        self._safe_logarithm = validate.safe_logarithm(self._min_length_scales)
        # Of each row the number of its noise variance, (n,), where noise variances are arrays: the groups'.
        self.noise_groups: NDArray[np.int64] | None = None
        # Whether each output has its own variance, the one at which the likelihood is largest, times a covariance of all.
        self.own_variances = False
        self.watch: Watch | None = None  # of evaluations that take long; see the engine's `evaluate`
        # Buffers to be used again, by ``spare_workspace``: the last evaluation's, and of batches at most one a thread.
        self._last: list[Workspace] = []
        self._spare: list[Workspace] = []

    def __call__(self, theta: ArrayLike) -> tuple[float, Array]:
        """+l and its gradient at ``theta``; see the class."""
        announce(len(self.X), self.n_threads)
        natural = validate.log_parameters(
            theta, self.n_parameters, self._noise_place, self._min_length_scales, self._safe_logarithm
        )
        parameters = self._parameters(natural)
        evaluation = self.evaluate(*parameters, gradient=True)
        return evaluation.log_marginal_likelihood, self.assemble(evaluation, parameters[2])

    def _parameters(self, natural: Array) -> tuple[Array, Any, float, Kernel]:
        """length_scale, signal_variance (of a sum an array), noise_variance and the kernel, from an array of them all."""
        scales, place = self._min_length_scales.size, self._noise_place
        signal = natural[scales:place] if isinstance(self.kernel, Sum) else float(natural[scales])
        kernel = self.kernel.with_shape(natural[place + 1 :].tolist()) if natural.size > place + 1 else self.kernel
        return natural[:scales], signal, float(natural[place]), kernel

    def batch(
        self, thetas: ArrayLike, y: ArrayLike | None = None, *, failures: Literal["raise", "-inf"] = "raise"
    ) -> tuple[Array, Array]:
        """Values and gradients at many thetas at once: restarts, averages over hyperparameters, grids.

        Where one evaluation would leave threads idle, several are made side by side, each with a buffer of its own, kept for
        the next batch; the bits are those of calls one by one.

        Parameters
        ----------
        thetas : array-like, shape (k, n_parameters)
            Natural logarithms, as for a call.
        y : array-like, shape (k, n) or (k, n, m), optional
            Targets of each theta; those of the objective by default.
        failures : {"raise", "-inf"}, default "raise"
            What becomes of a theta that has no likelihood in float64: where K is not positive definite to working precision,
            the likelihood overflows, or a parameter does. With "-inf" its value is -inf and its gradient 0, and the others
            are what they are: a sampler rejects the point, and in an average weighted by exp(value) it counts nothing (NaN
            would spoil both). An optimiser that goes by the gradient takes such a point for stationary: let it look at the
            value.

        Returns
        -------
        values : ndarray, shape (k,)
        gradients : ndarray, shape (k, n_parameters)

        Raises
        ------
        ValueError, TypeError
            For wrong shapes or numbers; NaN is wrong whatever ``failures``.
        NotPositiveDefiniteError
            If K is not positive definite at one of the thetas, unless ``failures`` is "-inf".
        """
        n = len(self.X)
        natural, valid, targets = validate.batch(
            thetas, y, self.n_parameters, self._noise_place, n, self._min_length_scales, self._safe_logarithm, failures
        )
        columns = self._shape[1] + (0 if targets is None else targets.shape[2] - self.y.shape[1])
        count = natural.shape[0]
        values, gradients = np.full(count, -math.inf), np.zeros((count, self.n_parameters))
        at_a_time, threads = 1, self.n_threads
        if n >= _SIDE_BY_SIDE_FROM and count * n**3 >= _WORTH_BUFFERS:
            at_a_time, threads = side_by_side(n, count, self.n_threads)

        def work(indices: Iterator[int]) -> None:
            workspace = spare_workspace(self._spare, n, columns)
            for i in indices:
                if not valid[i]:
                    continue
                own = self.y if targets is None else self._beside_basis(targets[i])
                parameters = self._parameters(natural[i])
                try:
                    evaluation = self.evaluate_in(workspace, own, *parameters, True, threads)
                except ValueError:  # not positive definite, or an overflow
                    if failures == "raise":
                        raise
                    continue
                values[i] = evaluation.log_marginal_likelihood
                gradients[i] = self.assemble(evaluation, parameters[2])
            if at_a_time > 1:
                self._spare.append(workspace)

        thread_map(at_a_time, count, work, threads)
        return values, gradients

    def evaluate(
        self,
        length_scale: Array,
        signal_variance: Any,
        noise_variance: Any,
        kernel: Kernel,
        *,
        gradient: bool,
        free: Any = None,
        tied: bool = False,
    ) -> Evaluation:
        """One evaluation at valid natural parameters, all that the engine returns; raises NotPositiveDefiniteError.

        ``free`` and ``tied`` as in the engine's ``Term``.
        """
        threads, last = self.n_threads, self._last
        announce(self.y.shape[0], threads)
        workspace = spare_workspace(last, *self._shape)  # as ``workspace()`` does, with less around it
        try:
            return self.evaluate_in(
                workspace, self.y, length_scale, signal_variance, noise_variance, kernel, gradient, threads, free, tied
            )
        finally:
            last[:] = [workspace]

    def workspace(self) -> AbstractContextManager[Workspace]:
        """The workspace that ``release`` gives away afterwards, and that no other thread has meanwhile; workers wake up."""
        announce(len(self.X), self.n_threads)
        return borrowed(self._last, *self._shape)

    def _beside_basis(self, y: Array) -> Array:
        """What ordinary least squares leave of targets (n, m): of the same value, and not cancelled against a large mean."""
        if self.basis is None:
            return y
        with one_blas_thread(), np.errstate(all="ignore"):  # an overflow is told by the value
            result: Array = y - self.basis @ (self.basis.T @ y)
        return result

    def evaluate_in(
        self,
        workspace: Workspace,
        y: Array,
        length_scale: Array,
        signal_variance: Any,
        noise_variance: Any,
        kernel: Kernel,
        gradient: bool,
        threads: int,
        free: Any = None,
        tied: bool = False,
        inverse: bool = False,
        watch: Watch | None = None,
    ) -> Evaluation:
        """The same in a workspace that is the caller's; ``inverse``: with K^-1 in it, gradient or not, or with a basis P."""
        known = self.observation_variance
        if self.noise_groups is not None:
            noise_variance = noise_variance[self.noise_groups]
        diagonal = noise_variance if known is None else noise_variance + known
        if isinstance(kernel, Sum):
            terms = kernel.terms(length_scale, signal_variance, self.X.shape[1], free)
        else:
            terms = [EngineTerm(kernel, length_scale, signal_variance, free, tied=tied)]
        if self.basis is None and not self.own_variances:
            evaluation = evaluate(
                terms, self.X, y, diagonal, workspace, gradient=gradient, threads=threads, center=self.center,
                inverse=inverse, watch=watch or self.watch,
            )  # fmt: skip
        else:
            basis = np.empty((len(y), 0)) if self.basis is None else self.basis
            evaluation = evaluate_with_basis(
                terms, self.X, y, basis, diagonal, workspace, restricted=self.mean_estimation == "reml",
                own_variances=self.own_variances, gradient=gradient, threads=threads, center=self.center, inverse=inverse,
                watch=watch or self.watch,
            )  # fmt: skip
        if evaluation.failure is not None:
            raise NotPositiveDefiniteError(*evaluation.failure)
        validate.no_overflow("the log marginal likelihood", evaluation.log_marginal_likelihood)
        return evaluation

    def assemble(self, evaluation: Evaluation, noise_variance: Any) -> Array:
        """The gradient in theta's order; the noise's entry is sigma_n^2 tr(Q) / 2, of a group the trace of its rows."""
        if self.noise_groups is not None:
            of_noise = 0.5 * noise_variance * np.bincount(self.noise_groups, evaluation.diagonal_weights, noise_variance.size)
        else:
            of_noise = 0.5 * noise_variance * float(np.add.reduce(evaluation.diagonal_weights))
        if isinstance(self.kernel, Sum):
            return self.kernel.by_theta(evaluation.gradients, of_noise)
        return by_theta(evaluation.gradients[0], of_noise)

    def release(self) -> Array:
        """Give the matrix away that the last evaluation left, (n, n); the next evaluation allocates anew."""
        try:
            return self._last.pop().release()
        except IndexError:
            raise RuntimeError("nothing has been evaluated yet, so there is no matrix to release") from None

    def on_threads(self, threads: int) -> LogMarginalLikelihood:
        """The same on so many threads, with buffers of its own: to be used beside this one."""
        other = copy.copy(self)
        other.n_threads, other._last, other._spare = threads, [], []
        return other

    def __repr__(self) -> str:
        n, d = self.X.shape
        return f"<LogMarginalLikelihood {self.kernel!r} of {n} points in {d} dimensions, {self.n_parameters} parameters>"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "watch": None, "_last": [], "_spare": []}


def or_minus_infinity(objective: LogMarginalLikelihood, theta: Array) -> tuple[float, Array]:
    """Value and gradient for a sampler: -inf and zeros where there is no likelihood in float64; NaN where theta has a NaN."""
    if np.isnan(theta).any():
        return math.nan, np.full(theta.size, math.nan)
    try:
        return objective(theta)
    except ValueError:  # not positive definite, or no float64 number
        return -math.inf, np.zeros(theta.size)


def orthonormal(H: Array) -> tuple[Array, Array]:
    """A basis E (n, p) of the same functions with orthonormal columns, and E = H transform, (p, p)."""
    lengths = np.sqrt(np.sum(H * H, axis=0))
    with one_blas_thread():
        E, triangle = np.linalg.qr(H / lengths)
        return E, np.linalg.inv(triangle) / lengths[:, np.newaxis]


def by_theta(found: TermGradient, of_noise: float | Array) -> Array:
    """Derivatives in theta's order; of the noise there may be several."""
    if not isinstance(of_noise, float):
        return np.concatenate([found.log_length_scale, [found.log_signal_variance], of_noise, found.log_shape])
    d, shapes = found.log_length_scale.size, found.log_shape.size
    gradient = np.empty(d + 2 + shapes)
    gradient[:d] = found.log_length_scale
    gradient[d] = found.log_signal_variance
    gradient[d + 1] = of_noise
    if shapes:
        gradient[d + 2 :] = found.log_shape
    return gradient
