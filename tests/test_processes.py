"""What happens to whole processes: threads, fork, one thread, no compiler. Each test is a child process of its own."""

import signal
import textwrap
from pathlib import Path

import pytest
from conftest import run_python

LAYERS = ["omp", "workqueue"]

# In the child: data, a fixed answer from the plain formula, and a check of one evaluation against it.
PREAMBLE = f"""
import sys
sys.path.append({str(Path(__file__).parent)!r})
import naive
import numpy as np
import fastard

def problem(seed, n=150, d=6):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)), rng.standard_normal(n), np.exp(rng.uniform(-1.0, 1.0, d))

def evaluate(X, y, scale, n_threads=None):
    return fastard.log_marginal_likelihood(
        X, y, length_scale=scale, noise_variance=0.1, eval_gradient=True, n_threads=n_threads
    )

def check(seed, **options):
    X, y, scale = problem(seed, **options)
    value, gradient = evaluate(X, y, scale)
    term = naive.Term("rbf", scale)
    expected = naive.log_marginal_likelihood([term], X, y, 0.1)
    assert abs(value - expected) <= 1e-10 * max(1.0, abs(expected))
    expected = naive.gradient(term, X, y, 0.1)
    assert np.abs(gradient - expected).max() <= 1e-10 * max(1.0, np.abs(expected).max())
    return value, gradient
"""


def child(script, **options):
    return run_python(PREAMBLE + textwrap.dedent(script), **options)


@pytest.mark.parametrize("layer", LAYERS)
def test_eight_threads_at_once(layer):
    """Each with its own data, and all with one objective; the first calls of all, compiling or loading, collide too."""
    child(
        """
        import sys, threading
        sys.setswitchinterval(1e-5)
        shared = fastard.LogMarginalLikelihood(*problem(100, n=130)[:2])
        thetas = [np.log([*problem(seed)[2], 1.0, 0.1]) for seed in range(8)]
        barrier, answers, errors = threading.Barrier(8), {}, []

        def work(seed):
            try:
                barrier.wait()
                for _ in range(5):
                    check(seed, n=100 + 20 * seed)
                    for i in range(8):
                        value, gradient = shared(thetas[(seed + i) % 8])
                        answers.setdefault((seed + i) % 8, set()).add((value, gradient.tobytes()))
            except BaseException as error:
                errors.append(error)
                raise

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert not errors, errors
        assert len(answers) == 8 and all(len(found) == 1 for found in answers.values())
        """,
        NUMBA_THREADING_LAYER=layer,
    )


@pytest.mark.parametrize("layer", LAYERS)
def test_fork_after_use(layer):
    """The child evaluates too, and gets the parent's bits; then the parent goes on."""
    child(
        """
        import os, warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: a process with threads forks; that is the test
        objective = fastard.LogMarginalLikelihood(*problem(1)[:2])
        theta = np.log([*problem(1)[2], 1.0, 0.1])
        before = check(0), objective(theta)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                after = check(0), objective(theta)
                same = all(a[0] == b[0] and (a[1] == b[1]).all() for a, b in zip(before, after))
                if same and os.fork() == 0:  # and a child's child
                    os._exit(0 if check(0)[0] == before[0][0] else 1)
                status = 0 if same and (os.wait()[1] == 0) else 2
            finally:
                os._exit(status)
        assert os.waitpid(pid, 0)[1] == 0
        assert check(0)[0] == before[0][0]
        """,
        NUMBA_THREADING_LAYER=layer,
    )


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(layer, method, tmp_path):
    """A pool after use, with an objective sent to its workers."""
    script = tmp_path / "main.py"
    script.write_text(
        PREAMBLE
        + textwrap.dedent(
            f"""
            import multiprocessing, warnings
            warnings.simplefilter("ignore", DeprecationWarning)

            def work(task):
                objective, theta = task
                return check(0)[0], objective(theta)[0]

            if __name__ == "__main__":
                objective = fastard.LogMarginalLikelihood(*problem(1)[:2])
                thetas = [np.log([*problem(seed)[2], 1.0, 0.1]) for seed in range(4)]
                expected = [(check(0)[0], objective(theta)[0]) for theta in thetas]
                with multiprocessing.get_context("{method}").Pool(2) as pool:
                    assert pool.map(work, [(objective, theta) for theta in thetas]) == expected
            """
        )
    )
    run_python(f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')", NUMBA_THREADING_LAYER=layer)


@pytest.mark.parametrize("layer", LAYERS)
def test_one_thread(layer):
    child(
        """
        import threading
        check(0, n=300)
        X, y, scale = problem(0, n=300)
        assert (evaluate(X, y, scale)[1] == evaluate(X, y, scale, n_threads=3)[1]).all()
        """,
        NUMBA_NUM_THREADS="1",
        NUMBA_THREADING_LAYER=layer,
    )


def test_no_thread_of_ours_with_one_thread():
    child(
        """
        check(0, n=300)
        assert fastard._numba.threads._pool == (0, 0)
        """,
        NUMBA_NUM_THREADS="1",
    )


def test_exits_while_threads_evaluate():
    """The interpreter ends although a daemon thread is inside compiled code."""
    child(
        """
        import threading

        def work():
            while True:
                check(1)

        check(0)
        threading.Thread(target=work, daemon=True).start()
        check(0)
        """,
        timeout=120,
    )


def test_without_the_compiler():
    """NUMBA_DISABLE_JIT=1: right on a small case, or one clear error that names the variable."""
    out = child(
        """
        try:
            check(0, n=10, d=2)
        except Exception as error:
            assert "NUMBA_DISABLE_JIT" in str(error), repr(error)
            print("refused")
        else:
            print("right")
        """,
        NUMBA_DISABLE_JIT="1",
    )
    assert out.strip() in ("refused", "right")


def test_import_has_no_side_effects():
    """No compiler run, no thread, no layer chosen, no optional package, no global changed."""
    child(
        """
        import os, subprocess, sys
        script = '''
        import os, threading, warnings
        import numba, numpy
        environment, filters, errors = dict(os.environ), list(warnings.filters), numpy.geterr()
        state = numpy.random.get_state()[1].tolist()
        import fastard
        assert dict(os.environ) == environment
        assert warnings.filters == filters
        assert numpy.geterr() == errors
        assert numpy.random.get_state()[1].tolist() == state
        assert threading.active_count() == 1 and fastard._numba.threads._pool == (0, 0)
        import sys
        loaded = {name.partition(".")[0] for name in sys.modules}
        assert not loaded & {"sklearn", "pandas", "matplotlib", "rich", "jax", "torch"}, loaded
        assert "scipy.linalg" not in sys.modules and "scipy.optimize" not in sys.modules
        from fastard._engine.loops import pairs as _loops
        for name, function in vars(_loops).items():
            assert not getattr(function, "signatures", []), name
        '''
        import textwrap
        subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)
        """
    )


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer")
@pytest.mark.parametrize("n", [100, 600, 3000])
def test_ctrl_c_during_compiled_searches_keeps_the_best(n):
    """Restarts side by side, one after another, and evaluations that are watched."""
    script = f"""
        import signal, time
        import numpy as np
        import fastard

        X = np.random.default_rng(0).standard_normal(({n}, 4))
        y = np.sin(X[:, 0])
        fastard.fit(X[:60], y[:60])  # compiles
        start = time.perf_counter()
        first = fastard.fit(X, y, max_iterations=1, callback=lambda _: True)
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, 0.5 + 2.0 * (time.perf_counter() - start))  # later on a busy machine
        model = fastard.fit(X, y, n_restarts=5000, rng=0)
        assert "interrupted" in model.message, model.message
        assert not model.converged
        assert model.log_marginal_likelihood > first.log_marginal_likelihood
    """
    run_python(textwrap.dedent(script))
