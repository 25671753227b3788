"""More cores than an evaluation can use, fewer than it has threads, and cores that are not what they seem."""

import textwrap

import numba
import numpy as np
import pytest
from conftest import data, run_python
from test_bits import everything

import fastard
from fastard import _limits
from fastard._engine import sizes
from fastard._engine.workspace import Workspace
from fastard._numba import threads as _threads


def cores(monkeypatch, count):
    for module in (sizes, fastard._validation.options):
        monkeypatch.setattr(module, "available_cores", lambda: count)


@pytest.mark.parametrize(
    ("n", "threads", "expected"),
    [(100, 64, 1), (160, 64, 5), (300, 64, 10), (300, 4, 4), (1000, 64, 33), (2000, 64, 64), (20_000, 1, 1)],
)
def test_threads_of_an_evaluation(n, threads, expected, monkeypatch):
    cores(monkeypatch, 64)
    assert sizes.evaluation_threads(n, threads) == expected


def test_fewer_cores_than_when_the_number_was_chosen(monkeypatch):
    """After taskset, say."""
    cores(monkeypatch, 64)
    objective = fastard.LogMarginalLikelihood(*data(300, 3), n_threads=8)
    assert objective.n_threads == 8
    cores(monkeypatch, 2)
    assert sizes.evaluation_threads(300, objective.n_threads) == 2
    assert sizes.threads_for(10**9, 8) == 2
    assert sizes.prediction_plan(1000, 1e9, 8)[0] == 2


def test_threads_of_a_loop_and_of_predictions(monkeypatch):
    cores(monkeypatch, 64)
    assert [sizes.threads_for(work, 64) for work in (299_999, 300_000, 10**6, 10**9)] == [1, 3, 10, 64]
    assert [sizes.prediction_plan(9999, work, 64)[0] for work in (9.9e5, 1e6, 5e6, 1e9)] == [1, 2, 10, 64]


@pytest.mark.parametrize(
    ("n", "count", "threads", "expected"),
    [
        (300, 1, 64, (1, 10)),
        (300, 16, 64, (16, 4)),
        (100, 16, 64, (16, 1)),
        (300, 100, 64, (64, 1)),
        (300, 7, 2, (2, 1)),
        (1000, 7, 2, (1, 2)),
        (1000, 16, 64, (6, 10)),
        (2000, 16, 64, (3, 21)),
        (10_000, 16, 64, (1, 64)),
        (300, 0, 8, (1, 8)),
    ],
)
def test_evaluations_side_by_side(n, count, threads, expected, monkeypatch):
    cores(monkeypatch, 64)
    assert sizes.side_by_side(n, count, threads) == expected


def test_more_threads_than_cores_give_the_same_bits(monkeypatch):
    expected = everything(1)
    cores(monkeypatch, 64)
    for _ in range(3):
        assert everything(8) == expected
    assert _threads._pool[0] >= 4 or _threads.available_cores() == 1  # the pool keeps four to a core


@pytest.mark.parametrize("n", [200, 520])
def test_groups_of_threads_give_the_same_bits(n, monkeypatch):
    """Batches and restarts: several evaluations at a time, and several threads in each."""
    monkeypatch.setattr(sizes, "_POINTS_OF_BUSY_THREAD", 260)
    X, y = data(n, 3)
    thetas = 0.3 * np.random.default_rng(0).standard_normal((40, 5))
    alone = fastard.LogMarginalLikelihood(X, y, n_threads=1)
    expected = [alone(theta) for theta in thetas[:3]], fastard.fit(X, y, n_restarts=1, rng=0, max_iterations=3, n_threads=1)
    cores(monkeypatch, 64)
    assert min(sizes.side_by_side(n, 3, 9)) > 1
    values, gradients = fastard.LogMarginalLikelihood(X, y, n_threads=9).batch(thetas[:3] if n > 300 else thetas)
    for value, gradient, one in zip(values, gradients, expected[0], strict=False):
        assert value == one[0]
        np.testing.assert_array_equal(gradient, one[1])
    fitted = fastard.fit(X, y, n_restarts=1, rng=0, max_iterations=3, n_threads=9)
    np.testing.assert_array_equal(fitted.length_scale, expected[1].length_scale)


@pytest.mark.parametrize("m", [1, 3])
def test_the_second_buffer_of_panels_changes_no_bit(m, monkeypatch):
    X, y = data(400, 3, m)
    found, doubles = [], []
    for least in (0, 1000):
        monkeypatch.setattr(sizes, "_ONE_BUFFER_FROM", least)
        monkeypatch.setattr(sizes, "_TWO_BUFFERS_FROM_CORES", 10**9)
        doubles.append(Workspace(400, m).space.size)
        for n_threads in (1, 2):
            value, gradient = fastard.log_marginal_likelihood(X, y, length_scale=1.0, eval_gradient=True, n_threads=n_threads)
            found.append(np.append(gradient, value).tobytes())
    assert doubles[0] < doubles[1]
    assert len(set(found)) == 1


def test_many_cores_have_a_second_buffer(monkeypatch):
    cores(monkeypatch, 16)
    assert [sizes.z_buffers(n) for n in (1000, 2000)] == [2, 1]
    cores(monkeypatch, 64)
    assert sizes.z_buffers(2000) == 2


SCRIPT = """
import os
import numpy as np
import fastard
from fastard._engine import sizes

sizes.available_cores = fastard._validation.options.available_cores = lambda: 64
rng = np.random.default_rng(0)
X, y = rng.standard_normal((300, 4)), rng.standard_normal(300)

def evaluate(n_threads):
    value, gradient = fastard.log_marginal_likelihood(X, y, length_scale=1.0, eval_gradient=True, n_threads=n_threads)
    return np.append(gradient, value).tobytes()

expected = evaluate(1)
assert evaluate(8) == expected
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "sched_setaffinity"), reason="the system has no such thing")
def test_all_threads_on_one_core():
    """Whoever waits has to leave the core to whom it waits for; forked meanwhile, a child has threads of its own."""
    run_python(
        SCRIPT
        + textwrap.dedent(
            """
            one = {min(os.sched_getaffinity(0))}
            for thread in map(int, os.listdir("/proc/self/task")):
                os.sched_setaffinity(thread, one)
            for _ in range(20):
                assert evaluate(8) == expected
            import warnings
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: a process with threads forks
            child = os.fork()
            if child == 0:
                os._exit(0 if all(evaluate(8) == expected for _ in range(5)) else 1)
            assert os.waitpid(child, 0)[1] == 0
            """
        )
    )


# What the system says of its cores


def processors(tmp_path, name, *cores):
    for number, text in enumerate(cores):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{number}/topology"
        folder.mkdir(parents=True)
        if text is not None:
            (folder / name).write_text(text)
    return tmp_path


TOPOLOGIES = {
    "siblings": (("0,2\n", "1,3\n", "0,2\n", "1,3\n"), range(4), 2),
    "neighbours": (("0-1\n", "0-1\n", "2-3\n", "2-3\n"), range(4), 2),
    "some_of_them": (("0-1\n", "0-1\n", "2-3\n", "2-3\n"), (1, 2, 3), 2),
    "one_core": (("0-1\n", "0-1\n"), range(2), 1),
    "none": (("0\n", "1\n", "2\n"), range(3), 3),
    "some_efficiency_cores": (("0-1\n", "0-1\n", "2\n", "3\n"), range(4), 3),
    "unknown": ((None, None, None), range(3), 3),
    "empty": (("", ""), range(2), 2),
    "nothing_at_all": ((), range(5), 5),
}


@pytest.mark.parametrize("name", ["core_cpus_list", "thread_siblings_list"])
@pytest.mark.parametrize("case", TOPOLOGIES)
def test_physical_cores(case, name, tmp_path):
    cores, usable, expected = TOPOLOGIES[case]
    assert _limits.physical_cores(frozenset(usable), processors(tmp_path, name, *cores)) == expected


@pytest.mark.parametrize(
    ("numbas", "default", "physical", "quota", "expected"),
    [
        (8, 8, 4, None, 4),
        (8, 8, 8, None, 8),
        (6, 8, 4, None, 6),  # somebody has told Numba so
        (2, 8, 4, None, 2),
        (16, 8, 4, None, 8),
        (8, 8, 4, 0.5, 1),
        (8, 8, 4, 1.0, 1),
        (8, 8, 4, 1.5, 2),
        (8, 8, 4, 16.0, 4),
        (6, 8, 4, 1.5, 2),
    ],
)
def test_default_threads(numbas, default, physical, quota, expected, monkeypatch):
    monkeypatch.setattr(_threads, "_affinity", lambda: frozenset(range(8)))
    monkeypatch.setattr(_threads, "physical_cores", lambda processors: physical)
    monkeypatch.setattr(_threads, "cpu_quota", lambda: quota)
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", numbas)
    monkeypatch.setattr(numba.config, "NUMBA_DEFAULT_NUM_THREADS", default)
    monkeypatch.setattr(_threads.parallel, "_is_initialized", False)
    assert _threads.default_threads() == expected


def test_a_quota_limits_what_is_asked_for(monkeypatch):
    monkeypatch.setattr(_threads, "_affinity", lambda: frozenset(range(8)))
    monkeypatch.setattr(_threads, "cpu_quota", lambda: 2.5)
    assert fastard.LogMarginalLikelihood(*data(20, 2), n_threads=8).n_threads == 3
