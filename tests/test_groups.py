"""Known structure: tied length scales are one parameter, fixed ones none."""

import numpy as np
import pytest
from conftest import assert_agree, data
from helpers import parameters_of, two_of_four

import fastard


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("objective", ["log_marginal_likelihood", "loo"])
def test_tied_length_scales_are_one_parameter(kernel, standardize, objective):
    X, y = two_of_four()
    X = X * [1.0, 3.0, 1.0, 1.0] + [5.0, 0.0, 0.0, 0.0]
    states = []
    model = fastard.fit(
        X, y, kernel=kernel[1], length_scale_groups=["a", "a", "b", "c"], standardize=standardize, objective=objective,
        callback=states.append,
    )  # fmt: skip
    assert model.length_scale[0] == model.length_scale[1] != model.length_scale[2] != model.length_scale[3]
    assert all(state.parameters["length_scale"][0] == state.parameters["length_scale"][1] for state in states)
    function = fastard.loo_log_predictive_density if objective == "loo" else fastard.log_marginal_likelihood
    _, gradient = function(X, y - y.mean(), **parameters_of(model), eval_gradient=True)
    assert abs(gradient[0] + gradient[1]) < 0.02  # the sum, not each
    assert max(abs(gradient[:2])) > 0.05


def test_isotropic():
    X, y = two_of_four()
    model = fastard.fit(X, y, length_scale_groups="isotropic")
    assert np.ptp(model.length_scale) == 0.0
    _, gradient = fastard.log_marginal_likelihood(X, y - y.mean(), **parameters_of(model), eval_gradient=True)
    assert abs(gradient[:4].sum()) < 0.02
    scales = np.geomspace(0.5, 2.0, 41) * model.length_scale[0]
    values = [
        fastard.log_marginal_likelihood(X, y - y.mean(), **parameters_of(model) | {"length_scale": scale}) for scale in scales
    ]
    assert np.argmax(values) == 20  # along this line: the others are at their optimum too
    loose = fastard.fit(X, y)
    assert model.log_marginal_likelihood <= loose.log_marginal_likelihood


def test_agrees_with_scikit_learns_isotropic_kernel():
    gaussian_process = pytest.importorskip("sklearn.gaussian_process")
    k = gaussian_process.kernels
    X, y = two_of_four()
    peer = gaussian_process.GaussianProcessRegressor(
        k.ConstantKernel(1.0, (1e-3, 1e3)) * k.RBF(2.0, (1e-2, 1e2)) + k.WhiteKernel(0.1, (1e-6, 1e1)), alpha=0.0
    ).fit(X, y - y.mean())
    model = fastard.fit(
        X, y, length_scale_groups="isotropic", length_scale=2.0, length_scale_bounds=(1e-2, 1e2),
        signal_variance_bounds=(1e-3, 1e3), noise_variance_bounds=(1e-6, 1e1),
    )  # fmt: skip
    assert model.log_marginal_likelihood == pytest.approx(peer.log_marginal_likelihood_value_, abs=1e-4)


def test_groups_of_one_change_no_bit():
    X, y = two_of_four()
    plain, tied = fastard.fit(X, y), fastard.fit(X, y, length_scale_groups=[3, 1, 2, 0])
    np.testing.assert_array_equal(plain.length_scale, tied.length_scale)
    assert plain.n_evaluations == tied.n_evaluations


def test_constant_columns_and_fixed_groups():
    X, y = two_of_four()
    X[:, 3] = 2.0
    model = fastard.fit(X, y, length_scale_groups=[0, 1, 2, 2], max_iterations=20)
    assert model.length_scale[2] == model.length_scale[3]
    both = fastard.fit(X, y, length_scale=[1.0, 2.0, 3.0, 3.0], length_scale_groups=[0, 1, 2, 2], max_iterations=20,
                       length_scale_bounds=[(0.1, 10.0), (0.1, 10.0), "fixed", "fixed"])  # fmt: skip
    np.testing.assert_allclose(both.length_scale[2:], 3.0, rtol=1e-14)
    X[:, 2:] = 0.0
    assert fastard.fit(X, y, length_scale_groups=[0, 1, 2, 2], max_iterations=5).length_scale[2] > 0.0


def test_a_tied_parameter_at_its_bound_is_named_as_all_it_is():
    X, _ = two_of_four()
    model = fastard.fit(X, np.sin(3.0 * X[:, 0]), length_scale_groups=[0, 1, 1, 1], length_scale_bounds=(1e-2, 3.0))
    for i in (1, 2, 3):
        assert f"length_scale[{i}]" in model.message


def test_no_columns():
    assert fastard.fit(np.empty((4, 0)), np.arange(4.0), length_scale_groups="isotropic").length_scale.shape == (0,)


@pytest.mark.parametrize(
    ("changed", "exception", "name"),
    [
        ({"length_scale_groups": [0, 0]}, ValueError, "length_scale_groups"),
        ({"length_scale_groups": "all"}, ValueError, "length_scale_groups.*isotropic"),
        ({"length_scale_groups": 3}, TypeError, "length_scale_groups"),
        ({"length_scale_groups": [[0], [0], [0], [0]]}, TypeError, "length_scale_groups"),
        ({"length_scale": [1.0, 2.0, 1.0, 1.0]}, ValueError, "length_scale must be equal.*columns 0 and 1"),
        (
            {"length_scale": 1.0, "length_scale_bounds": [(0.1, 9.0), (0.1, 8.0), (0.1, 9.0), (0.1, 9.0)]},
            ValueError,
            "length_scale_bounds must be equal.*columns 0 and 1",
        ),
        (
            {"length_scale": 1.0, "length_scale_bounds": [(0.1, 9.0), "fixed", (0.1, 9.0), (0.1, 9.0)]},
            ValueError,
            "length_scale_bounds",
        ),
    ],
)
def test_errors_name_the_argument(changed, exception, name):
    X, y = two_of_four()
    with pytest.raises(exception, match=name):
        fastard.fit(X, y, **{"length_scale_groups": [0, 0, 1, 2], **changed})


def test_a_fixed_length_scale_is_no_row_of_the_product():
    """Its contraction is skipped: the engine is asked for one row of distances a free dimension."""
    from fastard._engine import evaluate as _engine

    X, _ = data(20, 5)
    free = np.array([True, False, False, True, False])
    term = _engine.Term(fastard.RBF(), np.ones(5), 1.0, free)
    points = _engine.scaled(term, X, _engine.central(X))
    assert points.free == 2
    assert points.columns.tolist() == [0, 3, 1, 2, 4]
    full = fastard.covariance_vjp(np.ones((20, 20)), X, length_scale=1.0)
    from fastard._engine.cross import vjp

    assert_agree(vjp(term, X, np.ones((20, 20)), 1), full * [1, 0, 0, 1, 0, 1], 1e-13)


@pytest.mark.parametrize(("n", "d"), [(1, 2), (2, 1), (7, 4), (100, 1), (130, 11), (333, 4)])
def test_the_derivative_of_a_tied_term_is_the_sum(kernel, n, d):
    """One row of sums, made of w s: in the pass over the tiles, and where the profile is computed anew."""
    from fastard._engine.cross import vjp
    from fastard._engine.terms import Term
    from fastard._objectives import leave_one_out

    X, y = data(n, d)
    at = (np.full(d, 1.3), 1.2, 0.4, kernel[1])
    objective = fastard.LogMarginalLikelihood(X, y, kernel=kernel[1])
    loose, tied = (objective.evaluate(*at, gradient=True, tied=choice) for choice in (False, True))
    assert tied.log_marginal_likelihood == loose.log_marginal_likelihood
    assert_agree(tied.gradients[0].log_length_scale, first_only(loose.gradients[0].log_length_scale))
    assert tied.gradients[0].log_signal_variance == loose.gradients[0].log_signal_variance
    assert_agree(tied.gradients[0].log_shape, loose.gradients[0].log_shape)

    loose, tied = (leave_one_out.evaluate(objective, *at, gradient=True, tied=choice).gradient for choice in (False, True))
    assert_agree(tied[:d], first_only(loose[:d]))
    assert_agree(tied[d:], loose[d:])

    Q = data(n, n, seed=1)[0]
    loose, tied = (vjp(Term(kernel[1], at[0], 1.2, tied=choice), X, Q, 1) for choice in (False, True))
    assert_agree(tied[:d], first_only(loose[:d]))
    assert_agree(tied[d:], loose[d:])


def first_only(gradient):
    """Its sum at the first place."""
    return np.concatenate([[gradient.sum()], np.zeros(gradient.size - 1)])


def test_the_derivative_of_a_tied_term_has_the_same_bits_on_any_number_of_threads():
    X, y = data(300, 5)
    results = []
    for n_threads in (1, 2, 3):
        objective = fastard.LogMarginalLikelihood(X, y, kernel="matern32", n_threads=n_threads)
        evaluation = objective.evaluate(np.full(5, 1.3), 1.2, 0.1, objective.kernel, gradient=True, tied=True)
        results.append(evaluation.gradients[0].log_length_scale.tobytes())
    assert results[0] == results[1] == results[2]


def test_isotropic_sums_no_dimension(monkeypatch):
    """fit() and the integrations ask the engine for one row of the product, whatever d."""
    from fastard._engine import descent, evaluate

    rows = []
    ordered_columns = evaluate.ordered_columns

    def spy(*arguments):
        columns, free, tied = ordered_columns(*arguments)
        rows.append((free, tied))
        return columns, free, tied

    for module in (descent, evaluate):
        monkeypatch.setattr(module, "ordered_columns", spy)
    X, y = two_of_four()
    fastard.fit(X, y, length_scale_groups="isotropic", max_iterations=3)
    assert set(rows[:-1]) == {(1, True)}  # the last one has no gradient
    rows.clear()
    fastard.fit(X, y, length_scale_groups=[0, 0, 0, 1], max_iterations=3)
    assert set(rows) == {(4, False)}


def test_a_callback_is_given_the_derivative_by_a_common_logarithm():
    X, y = two_of_four()
    for groups in ("isotropic", [0, 0, 1, 0]):
        states = []
        fastard.fit(X, y, length_scale_groups=groups, callback=states.append, max_iterations=3)
        state = states[-1]
        _, gradient = fastard.log_marginal_likelihood(
            X, y - y.mean(), **{k: v for k, v in state.parameters.items() if k != "shape"}, eval_gradient=True
        )
        tied = [0, 1, 2, 3] if groups == "isotropic" else [0, 1, 3]
        assert_agree(state.gradient[tied], np.full(len(tied), gradient[tied].sum()), 1e-9)
        rest = [i for i in range(6) if i not in tied]
        assert_agree(state.gradient[rest], gradient[rest], 1e-9)
