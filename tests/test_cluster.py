"""Training on a Dask cluster: the bits of one machine, whatever the workers do."""

import os
import pickle
import signal
from functools import partial

import numpy as np
import pytest

import fastard
from fastard._vecchia import cluster as sharing
from fastard._vecchia import fit as fitting
from fastard._vecchia import likelihood
from fastard._vecchia.blocks import make_blocks, ordered_blocks

distributed = pytest.importorskip("distributed")

# Dask's own: of the event loop's clock on a busy machine, and of the ports that another cluster has
pytestmark = [pytest.mark.process, pytest.mark.filterwarnings("ignore::UserWarning:distributed")]

THETA = np.log([0.3, 0.6, 1.0, 0.05])


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Few points are many where the exact block and the first fit have fewer."""
    monkeypatch.setattr(likelihood, "make_blocks", partial(make_blocks, first=100))
    monkeypatch.setattr(likelihood, "ordered_blocks", partial(ordered_blocks, first=100))
    monkeypatch.setattr(fitting, "_START", 150)


def problem(n=3000):
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(n, 2))
    return X, np.sin(6.0 * X[:, 0]) + X[:, 1] ** 2 + 0.1 * rng.standard_normal(n)


@pytest.fixture
def cluster():
    """Start a cluster in this process, or with ``processes`` in others."""
    clusters = []

    def start(workers, *, processes=False):
        made = distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=processes, dashboard_address=":0", silence_logs=50
        )
        client = distributed.Client(made)
        clusters.extend([client, made])
        return client

    yield start
    for each in clusters:
        each.close()


OPTIONS = {"kernel": "matern52", "neighbors": 20, "block_size": 5, "rng": 0}


@pytest.mark.parametrize(("workers", "tasks"), [(1, 1), (2, 2), (2, 10)])
def test_a_cluster_gives_the_bits_of_one_machine(cluster, monkeypatch, workers, tasks):
    if tasks > workers:
        monkeypatch.setattr(sharing, "_LEAST_FLOPS", 1.0)
    X, y = problem()
    here = fastard.VecchiaLogLikelihood(X, y, **OPTIONS)
    there = fastard.VecchiaLogLikelihood(X, y, **OPTIONS, client=cluster(workers))
    assert len(there._shards._ranges) == tasks
    for function in (lambda it: it(THETA), lambda it: (it.information(THETA), it.refresh(THETA), it(THETA))):
        ours, theirs = function(there), function(here)
        assert str(ours) == str(theirs)
        for mine, other in zip(ours[::-1], theirs[::-1], strict=True):
            np.testing.assert_equal(mine, other)
    there.leave_cluster()
    np.testing.assert_array_equal(there.blocks.neighbors, here.blocks.neighbors)


def test_a_model_that_was_trained_there_needs_it_no_longer(cluster):
    X, y = problem()
    dask_array = pytest.importorskip("dask.array")
    chunked = dask_array.from_array(X, chunks=(700, 2)), dask_array.from_array(y, chunks=700)
    model = fastard.fit_vecchia(*chunked, **OPTIONS, client=cluster(2))
    own = fastard.fit_vecchia(X, y, **OPTIONS)
    np.testing.assert_array_equal(model._theta, own._theta)
    assert model.log_likelihood == own.log_likelihood
    np.testing.assert_array_equal(model.predict(X[:9]), own.predict(X[:9]))
    assert str(model.accuracy(sample=20, neighbors=30)) == str(own.accuracy(sample=20, neighbors=30))


def test_a_block_that_is_not_positive_definite_is_named(cluster):
    X, y = problem(600)
    X[599] = X[1]
    there = fastard.VecchiaLogLikelihood(X, y, **OPTIONS, client=cluster(2))
    with pytest.raises(fastard.NotPositiveDefiniteError) as caught:
        there(np.array([*THETA[:3], -np.inf]))
    assert {caught.value.row, caught.value.nearest_row} == {1, 599}


def test_a_worker_that_is_killed_is_survived(cluster):
    X, y = problem()
    client = cluster(2, processes=True)
    there = fastard.VecchiaLogLikelihood(X, y, **OPTIONS, client=client)
    before = there(THETA)
    victim = next(iter(client.run(os.getpid).values()))
    os.kill(victim, signal.SIGKILL)
    after = there(THETA)
    assert before[0] == after[0]
    np.testing.assert_array_equal(before[1], after[1])


def test_a_likelihood_that_is_on_a_cluster_pickles_and_says_how_many_blocks_it_has(cluster):
    X, y = problem(600)
    there = fastard.VecchiaLogLikelihood(X, y, **OPTIONS, client=cluster(1))
    assert repr(there) == repr(fastard.VecchiaLogLikelihood(X, y, **OPTIONS))
    again = pickle.loads(pickle.dumps(there))
    assert again(THETA)[0] == there(THETA)[0]


def test_workers_forget_their_search_trees(cluster):
    X, y = problem(600)
    client = cluster(1, processes=True)
    there = fastard.VecchiaLogLikelihood(X, y, **OPTIONS, client=client)
    there(THETA)
    assert set(client.run(_trees).values()) == {0}


def test_every_worker_keeps_its_points(cluster):
    X, y = problem(600)
    client = cluster(2, processes=True)
    there = fastard.VecchiaLogLikelihood(X, y, **OPTIONS, client=client)
    client.amm.run_once()  # which Dask does every two seconds: it drops copies
    before = client.run(_received)
    there(THETA)
    there.refresh(THETA)
    assert client.run(_received) == before


def _received(dask_worker):
    return dask_worker.state.transfer_incoming_count_total


def _trees():
    from fastard._vecchia import cluster

    return len(cluster._LATEST)


def test_a_cluster_without_workers_or_one_that_is_closed_is_an_error(cluster):
    X, y = problem(200)
    client = cluster(0)
    with pytest.raises(ValueError, match="wait_for_workers"):
        fastard.fit_vecchia(X, y, **OPTIONS, client=client)
    client.close()
    with pytest.raises(ValueError, match="closed"):
        fastard.fit_vecchia(X, y, **OPTIONS, client=client)


@pytest.mark.parametrize("when", ["before a search", "before an evaluation", "before the end"])
def test_points_whose_last_copy_is_lost_are_sent_again(cluster, when):
    X, y = problem(600)
    here = fastard.VecchiaLogLikelihood(X, y, **OPTIONS)
    there = fastard.VecchiaLogLikelihood(X, y, **OPTIONS, client=cluster(1, processes=True))
    there(THETA)
    os.kill(next(iter(there._shards.client.run(os.getpid).values())), signal.SIGKILL)
    if when == "before a search":
        there.find_neighbors(np.ones(2))
        here.find_neighbors(np.ones(2))
    if when == "before the end":
        there.leave_cluster()
    assert there(THETA)[0] == here(THETA)[0]


def test_a_search_backs_off_from_singular_covariances_on_a_cluster_too(cluster):
    X, _ = problem(600)
    y = np.sin(3.0 * X[:, 0]) + np.sin(5.0 * X[:, 1] + 1.0)
    options = OPTIONS | {"kernel": "rbf", "noise_variance": 0.0, "noise_variance_bounds": "fixed"}
    there = fastard.fit_vecchia(X, y, **options, client=cluster(2))
    here = fastard.fit_vecchia(X, y, **options)
    assert "positive definite just beyond the best parameters" in here.message
    assert (there.message, there.n_evaluations) == (here.message, here.n_evaluations)
    np.testing.assert_array_equal(there._theta, here._theta)
