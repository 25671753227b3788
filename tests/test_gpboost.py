"""GPBoost's Vecchia likelihood is ours, where the points, their order and their neighbours are the same."""

import numpy as np
import pytest

from fastard import VecchiaLogLikelihood
from fastard._vecchia import likelihood
from fastard._vecchia.blocks import make_blocks

gpboost = pytest.importorskip("gpboost")

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(("shape", "kernel"), [(1.5, "matern32"), (2.5, "matern52")])
@pytest.mark.parametrize("neighbors", [10, 20])
def test_single_points_have_gpboosts_likelihood(shape, kernel, neighbors, monkeypatch):
    def blocks(points, length_scale, neighbors, block_size, rng, threads):
        return make_blocks(points, length_scale, neighbors, block_size, rng, threads, first=neighbors)

    monkeypatch.setattr(likelihood, "make_blocks", blocks)
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(600, 3))
    y = np.sin(6.0 * X[:, 0]) + X[:, 1] ** 2 + 0.1 * rng.standard_normal(600)
    length_scale, signal, noise = np.array([0.3, 0.6, 2.0]), 1.3, 0.02
    ours = VecchiaLogLikelihood(X, y, kernel=kernel, length_scale=length_scale, neighbors=neighbors, block_size=1, rng=0)
    value, _ = ours(np.log([*length_scale, signal, noise]))
    order = ours.blocks.order
    theirs = gpboost.GPModel(
        gp_coords=X[order] / length_scale, cov_function="matern_ard", cov_fct_shape=shape, likelihood="gaussian",
        gp_approx="vecchia", num_neighbors=neighbors, vecchia_ordering="none",
    )  # fmt: skip
    assert -theirs.neg_log_likelihood(np.array([noise, signal, 1.0, 1.0, 1.0]), y[order]) == pytest.approx(value, rel=1e-8)
