"""What surrounds a process and its threads: coroutines in their place, rounding modes, quotas, signals."""

import io
import sys
import textwrap

import numpy as np
import pytest
from conftest import data, run_python

import fastard
from fastard import _limits
from fastard._engine import descent
from fastard._numba import threads as _threads

PROBLEM = """
import numpy as np
import fastard

rng = np.random.default_rng(0)
X, y = rng.standard_normal((300, 4)), rng.standard_normal(300)

def evaluate(n_threads=None):
    value, gradient = fastard.log_marginal_likelihood(X, y, length_scale=1.0, eval_gradient=True, n_threads=n_threads)
    return np.append(gradient, value).tobytes()
"""


def child(script, before="", **options):
    return run_python(textwrap.dedent(before) + PROBLEM + textwrap.dedent(script), **options)


COROUTINES = {
    "gevent": "from gevent import monkey, sleep\nmonkey.patch_all()\n",
    "eventlet": "import warnings\nwarnings.simplefilter('ignore')\nfrom eventlet import monkey_patch, sleep\nmonkey_patch()\n",
}


@pytest.mark.parametrize("library", COROUTINES)
def test_coroutines_in_the_place_of_threads(library):
    """The helpers are threads all the same, and whoever sleeps afterwards wakes up; evaluation, batch, fit and Hessian."""
    pytest.importorskip(library)
    child(
        """
        import _thread
        assert not isinstance(_thread.start_new_thread, type(len)), "nothing is patched"
        found = evaluate(2)
        assert found == evaluate(1)
        sleep(0.01)
        objective = fastard.LogMarginalLikelihood(X, y, n_threads=2)
        objective.batch(np.zeros((16, 6)))
        sleep(0.01)
        model = fastard.fit(X[:170], np.sin(X[:170, 0]), max_iterations=2, n_threads=2)
        model.standard_errors()
        sleep(0.01)
        from fastard.sklearn import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF, WhiteKernel
        GaussianProcessRegressor(RBF([1.0] * 4) + WhiteKernel(), n_restarts_optimizer=3).fit(X[:40], np.sin(X[:40, 0]))
        sleep(0.01)
        """,
        before=COROUTINES[library],
    )


def test_coroutines_that_come_later():
    pytest.importorskip("gevent")
    child(
        """
        found = evaluate(2)
        from gevent import monkey, sleep
        monkey.patch_all()
        sleep(0.01)
        assert evaluate(2) == found
        sleep(0.01)
        """,
    )


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(np, "longdouble"), reason="written for glibc")
def test_helpers_take_the_callers_rounding_mode():
    """Whoever made them: a mode that was set then, and taken back, is not theirs; one that is set now is."""
    child(
        """
        import ctypes, platform
        libm = ctypes.CDLL("libm.so.6")
        upward = {"x86_64": 0x800, "aarch64": 0x400000}[platform.machine()]
        evaluate(1)
        nearest = evaluate(1)
        assert libm.fesetround(upward) == 0
        up = evaluate(1)
        assert up != nearest
        assert evaluate(2) == up
        assert fastard._numba.threads._pool[0] > 0, "no helper"
        assert libm.fesetround(0) == 0
        for _ in range(20):
            assert evaluate(2) == nearest
        assert libm.fesetround(upward) == 0
        for _ in range(20):
            assert evaluate(2) == up
        """,
    )


def test_without_the_compiler_at_any_size():
    """One clear error, whatever is the first thing that a call needs of the compiler."""
    child(
        """
        for n in (20, 300):
            for call in (
                lambda: fastard.log_marginal_likelihood(X[:n], y[:n], length_scale=1.0, n_threads=2),
                lambda: fastard.LogMarginalLikelihood(X[:n], y[:n], n_threads=2)(np.zeros(6)),
                lambda: fastard.fit(X[:n], y[:n], n_threads=2),
                lambda: fastard.covariance(X[:n], length_scale=1.0),
                lambda: fastard.loo_log_predictive_density(X[:n], y[:n], length_scale=1.0, n_threads=2),
            ):
                try:
                    call()
                except RuntimeError as error:
                    assert "unset it" in str(error) and "NUMBA_DISABLE_JIT" in str(error), error
                else:
                    raise AssertionError("it ran")
        """,
        NUMBA_DISABLE_JIT="1",
    )


# How many threads


def test_numbas_number_of_threads_is_the_default():
    """Set at run time; the answer is that of the thread that asks."""
    child(
        """
        import threading
        import numba
        from fastard._numba.threads import default_threads
        assert default_threads() == 2
        numba.set_num_threads(1)
        assert default_threads() == 1
        others = []
        thread = threading.Thread(target=lambda: others.append(default_threads()))
        thread.start()
        thread.join()
        assert others == [2]
        numba.set_num_threads(2)
        assert default_threads() == 2
        """,
        before="""
        import os
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        if cores < 2:
            raise SystemExit
        """,
        NUMBA_NUM_THREADS="2",
    )


def test_asking_for_the_default_starts_no_threads_of_numbas():
    child(
        """
        from numba.np.ufunc import parallel
        assert fastard._numba.threads.default_threads() >= 1
        assert evaluate(2)
        assert not parallel._is_initialized
        """
    )


def test_no_more_threads_than_cores(monkeypatch):
    """More would only wait for each other."""
    monkeypatch.setattr(fastard._validation.options, "available_cores", lambda: 2)
    X, y = data(20, 2)
    assert fastard.LogMarginalLikelihood(X, y, n_threads=8).n_threads == 2
    assert fastard.LogMarginalLikelihood(X, y, n_threads=1).n_threads == 1


def groups(tmp_path, own, **files):
    """A root folder with what the kernel shows of control groups: the process's own, and limits by path."""
    for name, text in {"proc/self/cgroup": own, **files}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


CPU = {
    "version_2": ("0::/job/step\n", {"sys/fs/cgroup/job/step/cpu.max": "150000 100000\n"}, 1.5),
    "version_2_of_a_parent": (
        "0::/job/step\n",
        {"sys/fs/cgroup/job/step/cpu.max": "max 100000\n", "sys/fs/cgroup/job/cpu.max": "400000 100000\n"},
        4.0,
    ),
    "version_2_seen_from_a_container": ("0::/\n", {"sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2.0),
    "version_1": (
        "4:memory:/a\n2:cpu,cpuacct:/docker/123\n0::/\n",
        {
            "sys/fs/cgroup/cpu,cpuacct/docker/123/cpu.cfs_quota_us": "250000\n",
            "sys/fs/cgroup/cpu,cpuacct/docker/123/cpu.cfs_period_us": "100000\n",
        },
        2.5,
    ),
    "version_1_seen_from_a_container": (
        "2:cpu:/docker/123\n",
        {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "100000\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"},
        1.0,
    ),
    "none_in_version_1": (
        "2:cpu:/\n",
        {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"},
        None,
    ),
    "none_in_version_2": ("0::/\n", {"sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
    "nonsense": ("what?\n0::/\n", {"sys/fs/cgroup/cpu.max": "much\n"}, None),
    "empty": ("0::/\n", {"sys/fs/cgroup/cpu.max": ""}, None),
    "nothing": ("", {}, None),
}


@pytest.mark.parametrize("case", CPU)
def test_a_containers_processors(case, tmp_path):
    own, files, expected = CPU[case]
    assert _limits._tightest("cpu", _limits._cpu_quota, groups(tmp_path, own, **files)) == expected


@pytest.mark.parametrize(
    ("own", "file", "text", "expected"),
    [
        ("0::/a\n", "sys/fs/cgroup/a/memory.max", "1073741824\n", 2**30),
        ("0::/a\n", "sys/fs/cgroup/a/memory.max", "max\n", None),
        ("9:memory:/a\n", "sys/fs/cgroup/memory/memory.limit_in_bytes", "1048576\n", 2**20),
        ("0::/a\n", "sys/fs/cgroup/a/memory.max", "", None),
        ("0::/a\n", "sys/fs/cgroup/a/memory.max", "0\n", None),
        ("9:memory:/a\n", "sys/fs/cgroup/memory/memory.limit_in_bytes", "-1\n", None),
    ],
)
def test_a_containers_memory(own, file, text, expected, tmp_path):
    assert _limits._tightest("memory", _limits._memory_limit, groups(tmp_path, own, **{file: text})) == expected


def test_no_control_groups_at_all(tmp_path):
    assert _limits._tightest("cpu", _limits._cpu_quota, tmp_path) is None


# Too many points, and calls that take long


def test_the_message_says_how_many_points_fit(monkeypatch):
    monkeypatch.setattr(fastard._arrays, "memory", lambda: 8 * 10**6)
    X, y = data(1500, 2)
    with pytest.raises(MemoryError, match=r"n = 1500 points needs 0.016[89] GiB.*0.00745 GiB are avail.*n = 0; use a part"):
        fastard.fit(X, y)
    monkeypatch.setattr(fastard._arrays, "memory", lambda: 72 * 10**6)
    with pytest.raises(MemoryError, match=r"n = 4000 points .*enough for n = 2000;"):
        fastard.LogMarginalLikelihood(*data(4000, 2))(np.zeros(4))
    with pytest.raises(MemoryError, match=r"4000 x 4000 points .* fewer points at a time"):
        fastard.covariance(data(4000, 2)[0], length_scale=1.0)


LONG = {
    "value": lambda X, y: fastard.log_marginal_likelihood(X, y, length_scale=1.0),
    "gradient": lambda X, y: fastard.log_marginal_likelihood(X, y, length_scale=1.0, eval_gradient=True),
    "shape": lambda X, y: fastard.log_marginal_likelihood(
        X, y, length_scale=1.0, kernel="rational_quadratic", eval_gradient=True
    ),
    "leave_one_out": lambda X, y: fastard.loo_log_predictive_density(X, y, length_scale=1.0, eval_gradient=True),
    "covariance": lambda X, y: fastard.covariance(X, length_scale=1.0),
    "vjp": lambda X, y: fastard.covariance_vjp(np.multiply.outer(y, y), X, length_scale=1.0),
    "predict": lambda X, y: fastard.fit(X[:30], y[:30], max_iterations=1).predict_gradient(X),
    "standard_errors": lambda X, y: fastard.fit(X, y, max_iterations=1).standard_errors(),
}


@pytest.fixture
def _every_call_is_watched(monkeypatch):
    monkeypatch.setattr(fastard._engine.sizes, "_WATCHED_FROM", 0.0)
    monkeypatch.setattr(_threads, "_WATCH_EVERY", 1e-5)


def as_bytes(result):
    parts = result if isinstance(result, tuple) else (result,)
    return b"".join(np.asarray(part).tobytes() for part in parts if not isinstance(part, list))


@pytest.mark.filterwarnings("ignore:the likelihood is not at a maximum")
@pytest.mark.parametrize("call", LONG)
def test_a_watched_call_gives_the_same(call, monkeypatch):
    X, y = data(250, 3)
    expected = as_bytes(LONG[call](X, y))
    monkeypatch.setattr(fastard._engine.sizes, "_WATCHED_FROM", 0.0)
    assert as_bytes(LONG[call](X, y)) == expected


class InterruptedError(Exception):
    """What a signal's handler raises, say."""


@pytest.mark.usefixtures("_every_call_is_watched")
@pytest.mark.parametrize("inverse", [False, True])
def test_what_is_raised_meanwhile_ends_an_evaluation(inverse):
    """It comes through, no thread writes on, and the next evaluation is right."""
    X, y = data(400, 3)
    objective = fastard.LogMarginalLikelihood(X, y)
    theta = np.zeros(5)
    expected = objective(theta)
    seen = []

    def interrupt(done):
        seen.append(done)
        raise InterruptedError

    def evaluate():
        if inverse:
            return fastard._objectives.leave_one_out.evaluate(objective, np.ones(3), 1.0, 1.0, objective.kernel, gradient=True)
        return objective(theta)

    interrupted = 0
    for _ in range(50):
        objective.watch = interrupt
        try:
            evaluate()
        except InterruptedError:
            interrupted += 1
        objective.watch = None
        found = objective(theta)
        assert found[0] == expected[0]
        np.testing.assert_array_equal(found[1], expected[1])
    assert interrupted > 0
    assert all(0.0 <= done <= 1.0 for done in seen)


@pytest.mark.usefixtures("_every_call_is_watched")
def test_progress_within_an_evaluation():
    """It rises from 0 to 1, and with a gradient of leave-one-out, which is as much again, too."""
    X, y = data(700, 3)
    objective = fastard.LogMarginalLikelihood(X, y)
    for evaluate in (
        lambda: objective(np.zeros(5)),
        lambda: fastard._objectives.leave_one_out.evaluate(objective, np.ones(3), 1.0, 1.0, objective.kernel, gradient=True),
    ):
        for _ in range(100):  # how often one looks is up to the operating system
            seen = []
            objective.watch = seen.append
            evaluate()
            assert seen == sorted(seen)
            assert all(0.0 <= done <= 1.0 for done in seen)
            if len(set(seen)) > 3:
                break
        else:
            pytest.fail(f"no progress was seen, but {seen}")


@pytest.mark.usefixtures("_every_call_is_watched")
def test_progress_within_an_evaluation_of_a_search(monkeypatch):
    X, y = data(700, 3)
    whole, go_on = [], descent.Descent.go_on

    def watched(self, memory, status, workspace, most_evaluations, most_iterations, watch):
        seen = []
        whole.append(seen)
        go_on(self, memory, status, workspace, 1, most_iterations, seen.append)

    monkeypatch.setattr(descent.Descent, "go_on", watched)
    for _ in range(20):
        fastard.fit(X, y)
        assert all(seen == sorted(seen) for seen in whole)
        assert all(0.0 <= done <= 1.0 for seen in whole for done in seen)
        if any(len(set(seen)) > 3 for seen in whole):
            return
    pytest.fail(f"no progress was seen, but {whole}")


@pytest.mark.skipif(not hasattr(__import__("signal"), "setitimer"), reason="no timer")
def test_ctrl_c_within_a_long_evaluation():
    """KeyboardInterrupt long before the evaluation's end, and the process goes on."""
    out = child(
        """
        import signal, time
        X, y = rng.standard_normal((3000, 4)), rng.standard_normal(3000)
        objective = fastard.LogMarginalLikelihood(X, y)
        seen = []
        objective.watch = seen.append
        fastard._numba.threads._WATCH_EVERY = 1e-3
        objective(np.zeros(6))
        expected = objective(np.zeros(6))
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        del seen[:]
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        try:
            objective(np.zeros(6))
        except KeyboardInterrupt:
            print("interrupted at", max(seen, default=0.0))
        again = objective(np.zeros(6))
        assert again[0] == expected[0] and (again[1] == expected[1]).all()
        """
    )
    assert out.startswith("interrupted")
    assert float(out.split()[-1]) < 0.9


def test_no_thread_for_a_watched_call(monkeypatch):
    """A container gives no more threads: the call is made here, unwatched."""

    def refuse(function, arguments):
        raise RuntimeError("can't start new thread")

    X, y = data(150, 3)
    expected = fastard.log_marginal_likelihood(X, y, length_scale=1.0)
    monkeypatch.setattr(fastard._engine.sizes, "_WATCHED_FROM", 0.0)
    monkeypatch.setattr(_threads._thread, "start_new_thread", refuse)
    assert fastard.log_marginal_likelihood(X, y, length_scale=1.0) == expected


@pytest.mark.usefixtures("_every_call_is_watched")
def test_a_singular_covariance_in_a_watched_call():
    X, y = data(150, 3)
    X[100] = X[7] + 1e-9
    with pytest.raises(fastard.NotPositiveDefiniteError) as caught:
        fastard.log_marginal_likelihood(X, y, length_scale=1.0, noise_variance=0.0)
    assert caught.value.row == 100


def test_the_cost_is_said_before_the_first_evaluation(monkeypatch, capsys):
    from fastard import _progress
    from fastard._training import search

    monkeypatch.setattr(search, "_LARGE", 100)
    monkeypatch.setattr(search, "_SAMPLE", 50)
    monkeypatch.setattr(_progress, "_WORTH_SAYING", 0.0)
    X, y = data(120, 3)
    fastard.fit(X, y, progress=True, max_iterations=2)
    first, *_, factoring, last = capsys.readouterr().err.splitlines()
    assert first.startswith("fastard: 120 points in 3 dimensions: 0.00011 GiB, and about ")
    assert first.endswith("per evaluation")
    assert "factoring" in factoring
    assert "evaluations" in last


class OnlyWrites:
    def write(self, text):
        pass


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


STDERR = {"none": None, "closed": closed(), "only_writes": OnlyWrites(), "ascii": io.TextIOWrapper(io.BytesIO(), "ascii")}


@pytest.mark.filterwarnings("ignore:the likelihood is not at a maximum")
@pytest.mark.parametrize("stream", STDERR)
def test_progress_to_an_odd_stderr(stream, monkeypatch, capsys):
    """It is no reason to end a training, nor the Hessian; and it goes nowhere else."""
    from fastard import _progress

    monkeypatch.setattr(_progress, "_SILENCE", 0.0)
    monkeypatch.setattr(sys, "stderr", STDERR[stream])
    model = fastard.fit(*data(30, 2), progress=True, max_iterations=2)
    model.standard_errors(progress=True)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0123, "0.012 s"), (3.0, "3 s"), (75.0, "75 s"), (420.0, "7 min"), (5000.0, "83 min"), (9e4, "25 h")],
)
def test_durations(seconds, text):
    from fastard._progress import duration

    assert duration(seconds) == text
