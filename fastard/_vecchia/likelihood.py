"""The block Vecchia likelihood: the log likelihood in linear time, of blocks of points given their neighbours."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastard import _validation as validate
from fastard._arrays import Array, read_only
from fastard._blas import one_blas_thread
from fastard._engine.evaluate import Failure
from fastard._engine.hessian import Derivatives
from fastard._engine.sizes import Watch, announce
from fastard._engine.terms import Term
from fastard._engine.vecchia import (
    CHUNK,
    GRADIENT,
    INFORMATION,
    LIKELIHOOD,
    BlockSums,
    Conditioned,
    evaluate_blocks,
    tree_sum,
)
from fastard._objectives.likelihood import LogMarginalLikelihood
from fastard._parameters import Parameters, standard_deviations
from fastard._vecchia.blocks import Blocks, make_blocks, ordered_blocks
from fastard._vecchia.cluster import Shards
from fastard.exceptions import NotPositiveDefiniteError
from fastard.kernels import Kernel


class VecchiaEvaluation(NamedTuple):
    """What one evaluation found, in theta's order; what was not asked for is empty."""

    log_likelihood: float
    gradient: Array  # (P,), of tied length scales the sum at the first, 0 where fixed
    information: Array  # (P, P), the average information


class VecchiaLogLikelihood:
    r"""The block Vecchia approximation of the log marginal likelihood, as a function of the logarithms of its parameters.

    .. math:: \ell = \ln p(y_0) + \sum_B \ln p(y_B \mid y_{c(B)})

    The first points are one exact block; every further block of ``block_size`` points is conditioned on ``neighbors`` of the
    points before it. This is the density of a Gaussian process itself, of another covariance, and with all points before as
    neighbours it is the exact one. A call takes time and memory proportional to n.

    Parameters
    ----------
    X : array-like, shape (n, d)
        Inputs.
    y : array-like, shape (n,) or (n, m)
        Targets; the mean is taken to be zero. m outputs share the hyperparameters, and the value is their sum.
    kernel, observation_variance, n_threads
        As for :func:`log_marginal_likelihood`. The kernel object's own shape parameters are only a starting point.
    length_scale : float or array-like, shape (d,), optional
        In units of these the neighbours are near; by default the standard deviations of the columns. See ``refresh``.
    neighbors : int, default 64
        How many points a block is conditioned on: more cost time and lose less. At most the points of the first block.
    block_size : int, default 16
        The most points of a block.
    rng : None, int or numpy.random.Generator, default 0
        For the order of the points, on which the approximation depends.
    client : dask.distributed.Client, optional
        A cluster on which neighbours are found and blocks evaluated; every worker gets all points. The result has the same
        bits as without.

    Attributes
    ----------
    n_parameters : int
        d + 2 + p.
    blocks : Blocks
        The order of the rows, the blocks, and their neighbours.

    Notes
    -----
    ``objective(theta)`` returns ``(value, gradient)`` for theta, shape (d + 2 + p,), the natural logarithms of
    [length_scale ..., signal_variance, noise_variance, shape ...]; an entry of -inf for the noise stands for no noise. The
    blocks stay what they are meanwhile, so that it is a smooth function. Its bits do not depend on the number of threads. It
    raises :class:`NotPositiveDefiniteError`, which names rows of X: nothing is jittered. It pickles.

    References
    ----------
    Vecchia, Estimation and model identification for continuous spatial processes, JRSS B 50 (1988), 297-312; for blocks,
    Stein, Chi & Welty, JRSS B 66 (2004), 275-296; neighbours in units of the length scales, Katzfuss, Guinness & Lawrence,
    SIAM/ASA J. Uncertainty Quantification 10 (2022), 529-554.

    Examples
    --------
    >>> import numpy as np, fastard
    >>> X = np.random.default_rng(0).uniform(size=(3000, 2))
    >>> objective = fastard.VecchiaLogLikelihood(X, np.sin(6.0 * X[:, 0]), kernel="matern52", neighbors=32)
    >>> value, gradient = objective(np.log([0.3, 0.3, 1.0, 0.01]))
    >>> gradient.shape
    (4,)
    """

    _shards: Shards | None = None  # on a cluster, while it trains

    def __init__(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        kernel: str | Kernel = "rbf",
        length_scale: ArrayLike | None = None,
        neighbors: int = 64,
        block_size: int = 16,
        observation_variance: ArrayLike | None = None,
        rng: Any = 0,
        n_threads: int | None = None,
        client: Any = None,
    ) -> None:
        points = validate.inputs(X)
        n, d = points.shape
        targets = validate.targets(y, n, d).reshape(n, -1)
        known = validate.known_variances(observation_variance, n)
        kernel, threads = validate.as_kernel(kernel), validate.thread_count(n_threads)
        neighbors = validate.count("neighbors", neighbors, least=1)
        block_size = validate.count("block_size", block_size, least=1)
        validate.client(client)
        if length_scale is None:
            length_scale = _spreads(points)
        scales = validate.length_scales(length_scale, points)
        of_blocks = points, scales, neighbors, block_size, validate.generator(rng)
        blocks = make_blocks(*of_blocks, threads) if client is None else ordered_blocks(*of_blocks)
        order = blocks.order
        own = None if known is None else known[order]
        self._hold(points[order], targets[order], own, kernel, blocks, neighbors, block_size, threads)
        if client is not None and blocks.starts.size > 1:
            self._shards = Shards(client, self.X, self.y, self.observation_variance, blocks)
            self.find_neighbors(scales)

    @classmethod
    def of_ordered(
        cls,
        X: Array,
        y: Array,
        observation_variance: Array | None,
        *,
        kernel: Kernel,
        blocks: Blocks,
        neighbors: int,
        block_size: int,
        n_threads: int,
    ) -> VecchiaLogLikelihood:
        """With blocks and neighbours that are known; X (n, d), y (n, m) and the variances (n,) are in the blocks' order."""
        self = cls.__new__(cls)
        self._hold(X, y, observation_variance, kernel, blocks, neighbors, block_size, n_threads)
        return self

    def _hold(
        self,
        X: Array,
        y: Array,
        observation_variance: Array | None,
        kernel: Kernel,
        blocks: Blocks,
        neighbors: int,
        block_size: int,
        n_threads: int,
    ) -> None:
        self.kernel, self.n_threads = kernel, n_threads
        self.blocks, self.neighbors, self.block_size = blocks, neighbors, block_size
        # As places in the blocks' order
        self.X, self.y = read_only(X), read_only(y)
        self.observation_variance = own = None if observation_variance is None else read_only(observation_variance)
        self.n_parameters = X.shape[1] + 2 + len(kernel)
        self.watch: Watch | None = None  # called now and then with how much of an evaluation is done, from 0 to 1
        self._min_length_scales = validate.min_length_scales(self.X)
        self._safe_logarithm = validate.safe_logarithm(self._min_length_scales)
        first = blocks.first
        self._exact = LogMarginalLikelihood(
            self.X[:first], self.y[:first], kernel=kernel, n_threads=n_threads,
            observation_variance=None if own is None else own[:first],
        )  # fmt: skip
        self._shards = None

    def __call__(self, theta: ArrayLike) -> tuple[float, Array]:
        """The value and its gradient at ``theta``; see the class."""
        found = self.evaluate(*self.natural(theta), wanted=GRADIENT)
        return found.log_likelihood, found.gradient

    def natural(self, theta: ArrayLike) -> Parameters:
        """length_scale, signal_variance, noise_variance and the kernel, from their logarithms."""
        d = self.X.shape[1]
        natural = validate.log_parameters(theta, self.n_parameters, d + 1, self._min_length_scales, self._safe_logarithm)
        kernel = self.kernel.with_shape(natural[d + 2 :].tolist())
        return natural[:d], float(natural[d]), float(natural[d + 1]), kernel

    def information(self, theta: ArrayLike) -> Array:
        """The average information at ``theta``, (P, P): what the log likelihood's curvature is on average, if the model holds.

        Gilmour, Thompson & Cullis, Biometrics 51 (1995), 1440-1450. Its inverse holds the covariances of the estimates.
        """
        return self.evaluate(*self.natural(theta), wanted=INFORMATION).information

    def refresh(self, theta: ArrayLike) -> float:
        """Choose the neighbours anew, near in units of the length scales of ``theta``; the order and the blocks stay.

        Returns
        -------
        change : float
            Of the value at ``theta``, in nats: this is another function from now on. Not for inside a line search.
        """
        parameters = self.natural(theta)
        before = self.evaluate(*parameters, wanted=LIKELIHOOD).log_likelihood
        self.find_neighbors(parameters[0])
        return self.evaluate(*parameters, wanted=LIKELIHOOD).log_likelihood - before

    def find_neighbors(self, length_scale: Array) -> None:
        """Those that are near in units of these length scales; the order and the blocks stay."""
        if self._shards is not None:
            self._shards.refresh(self.X, length_scale, self.neighbors)
        else:
            self.blocks = self.blocks.refreshed(self.X, length_scale, self.n_threads)

    @property
    def found(self) -> Any:
        """The neighbours that it has now, to set it back to."""
        return self.blocks if self._shards is None else self._shards.found

    @found.setter
    def found(self, before: Any) -> None:
        if self._shards is None:
            self.blocks = before
        else:
            self._shards.found = before

    def leave_cluster(self) -> None:
        """From now on everything is done here, with the neighbours that were found there."""
        if self._shards is not None:
            self.blocks = self.blocks._replace(neighbors=self._shards.gathered_neighbors())
            self._shards = None

    def evaluate(
        self,
        length_scale: Array,
        signal_variance: float,
        noise_variance: float,
        kernel: Kernel,
        *,
        wanted: int,
        free: NDArray[np.bool_] | None = None,
        tied: bool = False,
    ) -> VecchiaEvaluation:
        """One evaluation at valid natural parameters; ``wanted``: LIKELIHOOD, GRADIENT or INFORMATION, each with those before.

        ``free`` and ``tied`` as in the engine's ``Term``.
        """
        term = Term(kernel, length_scale, signal_variance, free, tied=tied)
        there = None if self._shards is None else self._shards.submit(term, noise_variance, wanted)
        value, gradient, information = self._first(term, noise_variance, wanted)
        if self.blocks.starts.size > 1:
            if self._shards is not None and there is not None:
                found = self._checked(self._shards.collect(there))
            else:
                found = self._sums(term, noise_variance, self._conditioned(), wanted, CHUNK)
            value += float(tree_sum(found.log_likelihood))
            if wanted >= GRADIENT:
                gradient = gradient + tree_sum(found.gradient)
            if wanted >= INFORMATION:
                information = information + tree_sum(found.information)
        validate.no_overflow("the log likelihood", value)
        return VecchiaEvaluation(value, gradient, information)

    def of_blocks(
        self, theta: ArrayLike, which: NDArray[np.int64], neighbors: NDArray[np.int32] | None = None, *, wanted: int = GRADIENT
    ) -> BlockSums:
        """A row for each of the blocks ``which`` (R,): ln p(y_b | y_c), half of ln|S_b|, S_b the covariance of y_b given y_c,
        and the derivatives.

        ``neighbors`` (R, m'): other points to condition on, places in the blocks' order, before their block; its own by
        default. The information lost with m of m' neighbours that hold the m is the mean of the difference in half ln|S_b|.
        """
        own = self._conditioned()
        chosen = own.neighbors[which] if neighbors is None else np.ascontiguousarray(neighbors, dtype=np.int32)
        blocks = Conditioned(own.begin[which], own.end[which], chosen)
        length_scale, signal_variance, noise_variance, kernel = self.natural(theta)
        return self._sums(Term(kernel, length_scale, signal_variance), noise_variance, blocks, wanted, 1)

    def _conditioned(self) -> Conditioned:
        return Conditioned(self.blocks.starts[:-1], self.blocks.starts[1:], self.blocks.neighbors)

    def _sums(self, term: Term, noise: float, blocks: Conditioned, wanted: int, chunk: int) -> BlockSums:
        announce(len(self.X), self.n_threads)
        found = evaluate_blocks(
            term, self.X, self.y, self.observation_variance, noise, blocks, wanted=wanted, threads=self.n_threads, chunk=chunk,
            watch=self.watch,
        )  # fmt: skip
        return self._checked(found)

    def _checked(self, found: BlockSums | Failure) -> BlockSums:
        if isinstance(found, BlockSums):
            return found
        raise self.named(found.row, found.nearest_row, found.distance)

    def named(self, row: int, nearest_row: int | None, distance: float, *remedy: str) -> NotPositiveDefiniteError:
        """The error, with rows of the X that was given for places in the order."""
        return in_rows_of(self.blocks.order, row, nearest_row, distance, *remedy)

    def _first(self, term: Term, noise: float, wanted: int) -> tuple[float, Array, Array]:
        """The exact block's value, gradient and information."""
        exact = self._exact
        parameters = (term.length_scale, term.signal_variance, noise, term.kernel, wanted >= GRADIENT, self.n_threads)
        with exact.workspace() as workspace:
            try:
                evaluation = exact.evaluate_in(workspace, exact.y, *parameters, term.free, term.tied)
            except NotPositiveDefiniteError as error:
                raise self.named(error.row, error.nearest_row, error.distance) from None
            gradient = exact.assemble(evaluation, noise) if wanted >= GRADIENT else np.empty(0)
            information = np.empty((0, 0))
            if wanted >= INFORMATION:
                information = _exact_information(
                    term, exact.X, noise, evaluation.alpha, workspace.symmetric(self.n_threads), self.n_threads
                )
        return evaluation.log_marginal_likelihood, gradient, information

    def __repr__(self) -> str:
        (n, d), count, m = self.X.shape, self.blocks.starts.size - 1, self.blocks.neighbors.shape[1]
        return (
            f"<VecchiaLogLikelihood {self.kernel!r} of {n} points in {d} dimensions, {self.n_parameters} parameters: "
            f"the first {self.blocks.first}, then {count} blocks given {m} points each>"
        )

    def __getstate__(self) -> dict[str, Any]:
        there = self._shards
        blocks = self.blocks if there is None else self.blocks._replace(neighbors=there.gathered_neighbors())
        return {**self.__dict__, "blocks": blocks, "watch": None, "_shards": None}


def in_rows_of(
    rows: NDArray[np.int64], row: int, nearest_row: int | None, distance: float, *remedy: str
) -> NotPositiveDefiniteError:
    """The error of some ``rows`` of X that it was found among, with X's numbers."""
    nearest_row = None if nearest_row is None else int(rows[nearest_row])
    return NotPositiveDefiniteError(int(rows[row]), nearest_row, distance, *remedy)


def _spreads(points: Array) -> Array:
    """Standard deviations of the columns, 1 for constant ones."""
    with np.errstate(all="ignore"):
        spreads = standard_deviations(points, np.arange(points.shape[1]))
    validate.units(spreads.tolist(), points, lambda column: f"column {column} of X")
    return spreads


def _exact_information(term: Term, X: Array, noise: float, alpha: Array, inverse: Array, threads: int) -> Array:
    """alpha' K_a K^-1 K_b alpha / 2 in theta's order, (P, P): the first block's part."""
    n, d = X.shape
    P = d + 2 + len(term.kernel)
    if term.tied and d > 0:
        members = [np.arange(d)]
    else:
        members = [np.array([i]) for i in (range(d) if term.free is None else np.flatnonzero(term.free))]
    groups = np.zeros((len(members) + P - d, P))
    for row, columns in enumerate([*members, *(np.array([i]) for i in range(d, P))]):
        groups[row, columns] = 1.0
    first = groups.argmax(axis=1)
    m = alpha.shape[1]
    products = Derivatives(term, X, noise, groups, threads).times(alpha.T)[:, :, :m]  # K_b alpha_t
    flat = products.reshape(n, -1)
    with one_blas_thread():  # its threads would change bits
        solved = (inverse @ flat).reshape(products.shape)
    result = np.zeros((P, P))
    result[first[:, np.newaxis], first] = 0.5 * np.einsum("jat,jbt->ab", products, solved)
    return result
