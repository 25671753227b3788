"""The block Vecchia likelihood against the exact one and the plain formulas, for blocks and neighbours chosen at random."""

import pickle
from functools import partial

import naive
import numpy as np
import pytest
from conftest import KERNELS, assert_agree, data
from helpers import STORAGE

import fastard
from fastard._engine import sizes
from fastard._engine.vecchia import GRADIENT, INFORMATION, LIKELIHOOD, tree_sum
from fastard._vecchia import likelihood as vecchia
from fastard._vecchia.blocks import Blocks, make_blocks

THETA = np.log([0.8, 1.3, 2.0, 1.7, 0.1])
BY_NAME = {row.values[0][0]: row.values[0] for row in KERNELS}


def random_blocks(n, first, block_size, m, seed=0):
    """Each block's neighbours are any of the points before it."""
    rng = np.random.default_rng([seed, n, m])
    starts = np.append(np.arange(first, n, block_size), n)
    neighbors = [np.sort(rng.choice(start, m, replace=False)) for start in starts[:-1]]
    return Blocks(rng.permutation(n), first, starts, np.array(neighbors, dtype=np.int32).reshape(-1, m))


@pytest.fixture
def objective(monkeypatch):
    """The objective with given blocks."""

    def make(X, y, blocks, **options):
        monkeypatch.setattr(vecchia, "make_blocks", lambda *_: blocks)
        return fastard.VecchiaLogLikelihood(X, y, **options)

    return make


@pytest.fixture
def few_first(monkeypatch):
    """A small exact block, so that few points have others."""
    monkeypatch.setattr(vecchia, "make_blocks", partial(make_blocks, first=100))


def rows_of(blocks):
    """As the plain formula takes them: the first rows of X, and of each block its own and the given ones."""
    order, starts = blocks.order, blocks.starts
    pairs = [
        (order[start:stop], order[chosen])
        for start, stop, chosen in zip(starts[:-1], starts[1:], blocks.neighbors, strict=True)
    ]
    return order[: blocks.first], pairs


def difference(function, X, y, known, blocks):
    """function(X, y, known) of the first points and, of each block, of all its points less that of the given ones."""
    first, pairs = rows_of(blocks)

    def of(rows):
        return function(X[rows], y[rows], 0.0 if known is None else known[rows])

    return of(first) + sum(of(np.concatenate([given, own])) - of(given) for own, given in pairs)


def problem(kernel, n=90, d=3, m=1, known=False, seed=0):
    X, y = data(n, d, m, seed)
    variances = np.random.default_rng(1).uniform(0.0, 0.3, n) if known else None
    theta = np.concatenate([np.linspace(-0.3, 0.7, d), THETA[3:], np.log(kernel[2])])
    return X, y, variances, theta


@pytest.mark.parametrize(("m", "known"), [(1, False), (3, True)])
def test_random_blocks_are_differences_of_exact_likelihoods(kernel, m, known, objective):
    X, y, variances, theta = problem(kernel, m=m, known=known)
    blocks = random_blocks(len(X), 20, 7, 17)
    made = objective(X, y, blocks, kernel=kernel[1], observation_variance=variances)
    value, gradient = made(theta)

    def exact(which):
        def evaluate(X, y, known):
            variances = np.broadcast_to(known, len(X))
            return fastard.LogMarginalLikelihood(X, y, kernel=kernel[1], observation_variance=variances)(theta)[which]

        return difference(evaluate, X, y, variances, blocks)

    assert_agree(value, exact(0))
    assert_agree(gradient, exact(1))
    y = y.reshape(len(X), -1)
    expected = sum(
        difference(lambda X, y, known: naive.average_information(kernel[0], theta, X, y, known), X, y[:, t], variances, blocks)
        for t in range(m)
    )
    assert_agree(made.information(theta), expected)


@pytest.mark.parametrize("known", [False, True])
def test_gradient_is_the_complex_step_of_the_plain_formula(kernel, known, objective):
    X, y, variances, theta = problem(kernel, n=60, m=2, known=known)
    blocks = random_blocks(len(X), 12, 9, 11)

    def plain(theta):
        return naive.vecchia_of_theta(kernel[0], theta, X, y, *rows_of(blocks), 0.0 if variances is None else variances)

    value, gradient = objective(X, y, blocks, kernel=kernel[1], observation_variance=variances)(theta)
    assert_agree(value, plain(theta))
    assert_agree(gradient, naive.complex_step(plain, theta))


# m, block_size, d and outputs: less and more than a panel of any processor's, and whole ones
SHAPES = [
    (1, 1, 1, 1),
    (5, 1, 2, 1),
    (8, 8, 3, 1),
    (24, 24, 5, 2),
    (30, 17, 1, 9),
    (64, 32, 12, 1),
    (33, 5, 30, 1),
    (9, 3, 0, 1),
]


@pytest.mark.parametrize(("m", "block_size", "d", "outputs"), SHAPES)
def test_any_shape(m, block_size, d, outputs, objective):
    name, kernel, shape = BY_NAME["rational_quadratic"]
    X, y, _, theta = problem((name, kernel, shape), n=m + 2 * block_size + 3, d=d, m=outputs)
    blocks = random_blocks(len(X), m, block_size, m)
    made = objective(X, y, blocks, kernel=kernel)

    def plain(theta):
        return naive.vecchia_of_theta(name, theta, X, y, *rows_of(blocks))

    value, gradient = made(theta)
    assert_agree(value, plain(theta))
    assert_agree(gradient, naive.complex_step(plain, theta))
    expected = sum(
        difference(lambda X, y, _: naive.average_information(name, theta, X, y), X, column, None, blocks)
        for column in y.reshape(len(X), -1).T
    )
    assert_agree(made.information(theta), expected)


def test_one_block_is_the_exact_likelihood(kernel):
    """Fewer points than the first block takes."""
    X, y, variances, theta = problem(kernel, n=70, m=2, known=True)
    made = fastard.VecchiaLogLikelihood(X, y, kernel=kernel[1], observation_variance=variances)
    assert made.blocks.first == len(X)
    value, gradient = made(theta)
    exact = fastard.LogMarginalLikelihood(X, y, kernel=kernel[1], observation_variance=variances)(theta)
    assert_agree(value, exact[0], 1e-12)
    assert_agree(gradient, exact[1], 1e-12)
    expected = sum(naive.average_information(kernel[0], theta, X, column, variances) for column in y.T)
    assert_agree(made.information(theta), expected)


def test_all_points_before_as_neighbours_are_the_exact_likelihood(kernel, objective):
    X, y, _, theta = problem(kernel, n=120)
    blocks = Blocks(np.random.default_rng(0).permutation(120), 90, np.array([90, 120]), np.arange(90, dtype=np.int32)[None])
    value, gradient = objective(X, y, blocks, kernel=kernel[1])(theta)
    exact = fastard.LogMarginalLikelihood(X, y, kernel=kernel[1])(theta)
    assert_agree(value, exact[0], 1e-12)
    assert_agree(gradient, exact[1], 1e-12)


FREE = np.array([True, False, True])


@pytest.mark.parametrize("name", ["matern52", "rational_quadratic"])
def test_fixed_and_tied_length_scales(name, objective):
    _, kernel, shape = BY_NAME[name]
    X, y, _, theta = problem((name, kernel, shape))
    theta[:3] = 0.2
    made = objective(X, y, random_blocks(len(X), 20, 7, 17), kernel=kernel)
    parameters = made.natural(theta)
    whole = made.evaluate(*parameters, wanted=INFORMATION)
    P = len(theta)
    for free in (FREE, np.zeros(3, dtype=bool)):
        kept = np.concatenate([free, np.ones(P - 3, dtype=bool)])
        found = made.evaluate(*parameters, wanted=INFORMATION, free=free)
        assert_agree(found.log_likelihood, whole.log_likelihood, 1e-14)
        assert_agree(found.gradient, whole.gradient * kept)
        assert_agree(found.information, whole.information * np.outer(kept, kept))
    ties = np.eye(P)
    ties[:3, 0], ties[[1, 2], [1, 2]] = 1.0, 0.0
    found = made.evaluate(*parameters, wanted=INFORMATION, tied=True)
    assert_agree(found.gradient, ties.T @ whole.gradient)
    assert_agree(found.information, ties.T @ whole.information @ ties)


def test_what_is_not_wanted_is_empty_and_changes_nothing(objective):
    X, y = data(90, 3)
    made = objective(X, y, random_blocks(90, 20, 7, 17))
    values = {
        made.evaluate(*made.natural(THETA), wanted=wanted).log_likelihood for wanted in (LIKELIHOOD, GRADIENT, INFORMATION)
    }
    assert len(values) == 1
    alone = made.evaluate(*made.natural(THETA), wanted=LIKELIHOOD)
    assert alone.gradient.size == alone.information.size == 0


def test_average_information_has_the_mean_of_the_expected_one(objective):
    """Over draws of the model; the information of several outputs is a sum."""
    n, outputs, times = 60, 40, 30
    X = data(n, 2)[0]
    theta = np.log([0.8, 1.3, 1.7, 0.1])
    term = naive.Term("matern32", np.exp(theta[:2]), 1.7)
    factor = np.linalg.cholesky(naive.noisy_covariance([term], X, 0.1))
    blocks = random_blocks(n, 15, 6, 12)
    rng = np.random.default_rng(0)
    found = np.array(
        [
            objective(X, factor @ rng.standard_normal((n, outputs)), blocks, kernel="matern32").information(theta) / outputs
            for _ in range(times)
        ]
    )
    expected = difference(lambda X, y, _: naive.expected_information("matern32", theta, X), X, X, None, blocks)
    error = found.std(axis=0, ddof=1) / np.sqrt(times)
    assert np.all(np.abs(found.mean(axis=0) - expected) < 5.0 * error)
    assert np.all(error < 0.1 * np.sqrt(np.outer(expected.diagonal(), expected.diagonal())))


def test_information_lost_falls_with_nested_neighbours(objective):
    X, y = data(150, 2)
    theta = np.log([0.8, 1.3, 1.0, 0.01])
    blocks = random_blocks(150, 40, 10, 40)
    made = objective(X, y, blocks, kernel="matern52")
    which = np.arange(len(blocks.neighbors))
    half = [
        made.of_blocks(theta, which, np.ascontiguousarray(blocks.neighbors[:, ::step]), wanted=LIKELIHOOD).half_log_determinant
        for step in (8, 4, 2, 1)
    ]
    assert np.all(np.diff(half, axis=0) < 0.0)
    assert np.array_equal(half[-1], made.of_blocks(theta, which, wanted=LIKELIHOOD).half_log_determinant)


def test_log_determinants_given_all_points_before_are_that_of_the_covariance(objective):
    X, y = data(100, 2)
    theta = np.log([0.8, 1.3, 1.0, 0.01])
    blocks = random_blocks(100, 40, 15, 40)
    made = objective(X, y, blocks, kernel="matern52")
    places = X[blocks.order]
    total = 0.0
    for j, start in enumerate(blocks.starts[:-1]):
        before = np.arange(start, dtype=np.int32)[None]
        total += made.of_blocks(theta, np.array([j]), before, wanted=LIKELIHOOD).half_log_determinant[0]
    term = naive.Term("matern52", np.exp(theta[:2]), 1.0)
    whole, first = (np.linalg.slogdet(naive.noisy_covariance([term], points, 0.01))[1] for points in (X, places[:40]))
    assert_agree(total, 0.5 * (whole - first))


def test_scores_of_blocks_add_up(objective):
    X, y = data(90, 3)
    made = objective(X, y, random_blocks(90, 20, 7, 17))
    rows = made.of_blocks(THETA, np.arange(10), wanted=INFORMATION)
    whole = made.evaluate(*made.natural(THETA), wanted=INFORMATION)
    first = fastard.LogMarginalLikelihood(made.X[:20], made.y[:20])(THETA)
    assert rows.gradient.shape == (10, 5)
    assert_agree(rows.log_likelihood.sum() + first[0], whole.log_likelihood)
    assert_agree(rows.gradient.sum(axis=0) + first[1], whole.gradient)
    later = made.of_blocks(THETA, np.array([7, 2]))
    assert np.array_equal(later.gradient, rows.gradient[[7, 2]])


@pytest.mark.parametrize("name", ["matern52", "rational_quadratic"])
def test_bits_do_not_depend_on_threads(name, objective):
    _, kernel, shape = BY_NAME[name]
    X, y, variances, theta = problem((name, kernel, shape), n=500, known=True)
    blocks = random_blocks(500, 40, 2, 30)  # 230 blocks: chunks for every thread

    def everything(n_threads):
        made = objective(X, y, blocks, kernel=kernel, observation_variance=variances)
        made.n_threads = n_threads  # even where there are fewer cores
        found = made.evaluate(*made.natural(theta), wanted=INFORMATION)
        return np.float64(found.log_likelihood).tobytes() + found.gradient.tobytes() + found.information.tobytes()

    expected = everything(1)
    for n_threads in (1, 2, 3, 5):
        for _ in range(3):
            assert everything(n_threads) == expected


def test_the_sum_is_that_of_its_aligned_parts():
    rows = np.random.default_rng(0).standard_normal((37, 4))
    parts = np.array([tree_sum(rows[start : start + 8]) for start in range(0, 37, 8)])
    assert np.array_equal(tree_sum(rows), tree_sum(parts))
    assert_agree(tree_sum(rows), rows.sum(axis=0))


@pytest.mark.parametrize("places", [(3, 9), (5, 75), (60, 61), (25, 60)], ids=["first", "neighbour", "block", "far"])
def test_equal_rows_without_noise_are_refused_and_named(places, objective):
    X, y = data(90, 3)
    blocks = random_blocks(90, 20, 7, 20)
    first, second = places
    rows = blocks.order[[first, second]]
    X[rows[1]] = X[rows[0]]
    if second >= 20 > first or places == (25, 60):
        block = np.searchsorted(blocks.starts, second, side="right") - 1
        blocks.neighbors[block, 0] = first
    made = objective(X, y, blocks, kernel="matern52")
    assert np.isfinite(made(THETA)[0])
    theta = np.append(THETA[:4], -np.inf)
    for call in (made, made.information):
        with pytest.raises(fastard.NotPositiveDefiniteError, match="are equal and have no noise") as caught:
            call(theta)
        assert {caught.value.row, caught.value.nearest_row} == set(rows.tolist())
        assert caught.value.distance == 0.0


def test_a_singular_covariance_names_rows_of_X(objective):
    """The first block that fails, whatever the threads."""
    X, y = data(400, 1)
    blocks = random_blocks(400, 20, 2, 20)
    theta = np.array([5.0, 0.0, -np.inf])
    with pytest.raises(fastard.NotPositiveDefiniteError) as caught:
        objective(X[:30], y[:30], random_blocks(30, 3, 2, 3), kernel="rbf")(np.array([9.0, 0.0, -np.inf]))
    assert caught.value.distance > 0.0
    blocks = blocks._replace(first=1, starts=np.append(np.arange(1, 400, 2), 400)[:-1])
    blocks = blocks._replace(starts=np.arange(1, 400, 2), neighbors=np.zeros((199, 1), dtype=np.int32))
    made = objective(X, y, blocks, kernel="rbf")
    theta[0] = 9.0
    rows = set()
    for n_threads in (1, 2, 3):
        made.n_threads = n_threads
        with pytest.raises(fastard.NotPositiveDefiniteError) as caught:
            made(theta)
        rows.add(caught.value.row)
    assert len(rows) == 1
    assert rows.pop() in made.blocks.order[:70]


def test_progress_and_interrupts(objective, monkeypatch):
    monkeypatch.setattr(sizes, "_WATCHED_FROM", 0.0)
    monkeypatch.setattr("fastard._numba.threads._WATCH_EVERY", 1e-4)
    X, y = data(3000, 3)
    made = objective(X, y, random_blocks(3000, 100, 4, 100), kernel="matern52")
    seen = []
    made.watch = seen.append
    value = made(THETA)[0]
    assert all(0.0 <= done <= 1.0 for done in seen)
    assert seen == sorted(seen)

    def interrupt(_):
        raise KeyboardInterrupt

    made.watch = interrupt
    with pytest.raises(KeyboardInterrupt):
        made.information(THETA)
    made.watch = None
    assert made(THETA)[0] == value


def test_more_neighbours_come_nearer_to_the_exact_likelihood(few_first):
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(900, 2))
    y = np.sin(6.0 * X[:, 0]) + 0.1 * rng.standard_normal(900)
    theta = np.log([0.5, 0.8, 1.0, 0.01])
    exact = fastard.LogMarginalLikelihood(X, y, kernel="matern52")(theta)[0]
    options = {"kernel": "matern52", "length_scale": np.exp(theta[:2])}
    errors = [abs(fastard.VecchiaLogLikelihood(X, y, neighbors=m, **options)(theta)[0] - exact) for m in (8, 32, 128)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1.0


def test_refresh_changes_the_neighbours_and_says_by_how_much(few_first):
    X, y = data(900, 3)
    variances = np.linspace(0.0, 0.2, 900)
    made = fastard.VecchiaLogLikelihood(X, y, neighbors=16, length_scale=[1.0, 100.0, 100.0], observation_variance=variances)
    before, blocks = made(THETA)[0], made.blocks
    change = made.refresh(THETA)
    assert not np.array_equal(made.blocks.neighbors, blocks.neighbors)
    assert_agree(made(THETA)[0] - before, change)
    order = made.blocks.order
    assert np.array_equal(order, blocks.order)
    assert np.array_equal(np.sort(order), np.arange(900))
    assert np.array_equal(made.X, X[order])
    assert np.array_equal(made.y[:, 0], y[order])
    assert np.array_equal(made.observation_variance, variances[order])


def test_it_pickles_and_is_reproducible(few_first):
    X, y = data(700, 3)
    made = fastard.VecchiaLogLikelihood(X, y, kernel="matern32")
    value, gradient = made(THETA)
    for other in (pickle.loads(pickle.dumps(made)), fastard.VecchiaLogLikelihood(X, y, kernel="matern32")):
        assert other(THETA)[0] == value
        assert np.array_equal(other(THETA)[1], gradient)
    assert "700 points in 3 dimensions" in repr(made)


def odd_points(kind, n=300):
    X = data(n, 3)[0]
    if kind == "constant column":
        X[:, 1] = 0.7 + 1e6
    elif kind == "constant but for rounding":
        X[:, 1] = (X[:, 1] + 1e6) - X[:, 1]
    elif kind == "all rows equal":
        X[:] = X[0]
    elif kind == "clusters":
        X = np.repeat(X[:6], n // 6, axis=0) + 1e-9 * X
    elif kind == "far from the origin":
        X += 1e6
    elif kind == "many columns":
        X = data(n, 200)[0]
    return X


ODD = ["constant column", "constant but for rounding", "all rows equal", "clusters", "far from the origin", "many columns"]


@pytest.mark.parametrize("kind", ODD)
def test_odd_points(kind, few_first):
    X = odd_points(kind)
    d = X.shape[1]
    y = data(len(X), 1)[1]
    theta = np.log([*np.full(d, 2.0 + d), 1.7, 0.1])
    made = fastard.VecchiaLogLikelihood(X, y, kernel="matern52", neighbors=20)
    value, gradient = made(theta)
    term = naive.Term("matern52", np.exp(theta[:d]), 1.7)
    first, pairs = rows_of(made.blocks)
    parts = [(first, 1.0)] + [(np.concatenate(pair), 1.0) for pair in pairs] + [(given, -1.0) for _, given in pairs]
    expected = sum(sign * naive.log_marginal_likelihood([term], X[rows], y[rows], 0.1) for rows, sign in parts)
    assert_agree(value, expected)
    assert_agree(gradient, sum(sign * naive.gradient(term, X[rows], y[rows], 0.1) for rows, sign in parts))
    assert np.isfinite(made.information(theta)).all()


def test_a_column_beyond_float64_is_named():
    X, y = data(50, 2)
    X[:, 1] *= 1e300
    with pytest.raises(ValueError, match="column 1 of X is too large"):
        fastard.VecchiaLogLikelihood(X, y)


@pytest.mark.parametrize("stored", STORAGE)
def test_any_storage_and_inputs_unchanged(stored, few_first):
    X, y = (np.round(array, 3).astype(np.float32).astype(float) for array in data(160, 3))
    expected = fastard.VecchiaLogLikelihood(X, y)(THETA)[0]
    own_X, own_y = STORAGE[stored](X), STORAGE[stored](y)
    assert fastard.VecchiaLogLikelihood(own_X, own_y)(THETA)[0] == expected
    assert np.array_equal(np.asarray(own_X, dtype=float), X)
    assert np.array_equal(np.asarray(own_y, dtype=float), y)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"neighbors": 0}, "neighbors must be an integer >= 1"),
        ({"block_size": 2.5}, "block_size must be an integer >= 1"),
        ({"length_scale": [1.0, 2.0]}, r"length_scale must be a scalar or have shape \(3,\)"),
        ({"kernel": "nope"}, "kernel must be one of"),
        ({"observation_variance": [1.0]}, r"observation_variance must have shape \(20,\)"),
        ({"rng": "x"}, "rng must be"),
    ],
)
def test_wrong_arguments(changed, message):
    X, y = data(20, 3)
    with pytest.raises((ValueError, TypeError), match=message):
        fastard.VecchiaLogLikelihood(X, y, **changed)


def test_wrong_theta_and_overflow(few_first):
    X, y = data(600, 3)
    made = fastard.VecchiaLogLikelihood(X, y)
    with pytest.raises(ValueError, match=r"theta must have shape \(5,\)"):
        made(THETA[:4])
    with pytest.raises(ValueError, match="likelihood overflows float64"):
        fastard.VecchiaLogLikelihood(X, 1e200 * y)(THETA)
