"""Calls from JAX's programs to Python, by XLA's own interface and by JAX's."""

import gc
import textwrap
import time

import numpy as np
import pytest
from conftest import run_python

jax = pytest.importorskip("jax")
import jax.numpy as jnp  # noqa: E402

from fastard import _xla  # noqa: E402

pytestmark = pytest.mark.usefixtures("jax_in_float64")

THETA = np.arange(1.0, 6.0)


def squares(theta):
    theta = np.asarray(theta)
    return np.concatenate([(theta * theta).sum(axis=-1, keepdims=True), 2.0 * theta], axis=-1)


@pytest.fixture(params=["XLA's", "JAX's"])
def interface(request, monkeypatch):
    if request.param == "JAX's":
        monkeypatch.setattr(_xla, "_is_registered", lambda: False)
        monkeypatch.setattr(_xla, "_array", None)  # the other one's


def test_the_installed_jax_has_xlas_interface():
    assert (jax.__version_info__ >= _xla._SINCE) == _xla._is_registered()


@pytest.mark.usefixtures("interface")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["plain", "jit"])
def test_value_and_gradient(wrap, dtype):
    value = _xla.differentiable(_xla.HostCallback(squares))
    theta = jnp.asarray(THETA, dtype=dtype)
    found, gradient = wrap(jax.value_and_grad(value))(theta)
    assert found.dtype == gradient.dtype == dtype
    assert (float(found), gradient.tolist()) == (55.0, [2.0, 4.0, 6.0, 8.0, 10.0])
    values = wrap(jax.vmap(jax.vmap(value)))(jnp.stack([theta, 2.0 * theta])[:, np.newaxis])
    assert values.tolist() == [[55.0], [220.0]]
    assert wrap(jax.vmap(value))(jnp.empty((0, 5), dtype=dtype)).shape == (0,)


@pytest.mark.usefixtures("interface")
def test_an_error_comes_back():
    def fails(theta):
        raise ArithmeticError("the message")

    with pytest.raises(Exception, match="ArithmeticError: the message"):
        jax.block_until_ready(jax.jit(_xla.differentiable(_xla.HostCallback(fails)))(THETA))


def test_what_is_compiled_keeps_the_function():
    callback = _xla.HostCallback(squares)
    number = callback.number
    compiled = jax.jit(_xla.differentiable(callback)).lower(THETA).compile()
    del callback
    jax.clear_caches()
    gc.collect()
    assert float(compiled(THETA)) == 55.0
    del compiled
    jax.clear_caches()
    gc.collect()
    assert number not in _xla._CALLBACKS


def slow_squares(theta):
    time.sleep(0.2)
    return squares(theta)


def test_a_program_that_is_forgotten_while_it_runs():
    M = jnp.ones((500, 500))

    def found():
        value = _xla.differentiable(_xla.HostCallback(slow_squares))
        return jax.jit(lambda theta, M: value(theta + 0.0 * (M @ M)[0, 0]))(THETA, M)

    one = found()
    gc.collect()
    assert float(one) == 55.0


def test_python_exits_after_what_still_runs():
    script = """
        import time
        import jax, jax.numpy as jnp, numpy as np
        from fastard import _xla

        def slow(theta):
            time.sleep(0.3)
            return np.concatenate([theta[:1], theta])

        value = jax.jit(lambda theta, M: _xla.HostCallback(slow)(theta + 0.0 * (M @ M)[0, 0]))
        value(jnp.ones(2), jnp.ones((500, 500)))
    """
    run_python(textwrap.dedent(script), timeout=60)
