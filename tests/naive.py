"""The truth, written plainly: every formula of the package with one array a derivative and no cleverness.

Imports nothing of fastard, so that the benchmarks may use it where other libraries are measured: the formulas of the kernels
stand here once. Every function takes complex numbers too, so that a derivative can be checked by the complex step:
f(x + ih) = f(x) + ih f'(x) has no cancellation, and h = 1e-30 leaves no error but rounding. No conjugate, no absolute value
and no Cholesky factor stands in here.

Equations: Rasmussen & Williams (2006), Gaussian Processes for Machine Learning.
"""

from typing import NamedTuple

import numpy as np


class Term(NamedTuple):
    """signal_variance k(s) with s over ``columns`` of X (None: all); ``length_scale`` has an entry for each column of X."""

    kernel: str
    length_scale: np.ndarray
    signal_variance: float = 1.0
    shape: tuple = ()
    columns: tuple | None = None


def profile(kernel, s, shape=()):
    """k(s), w(s) = -2 k'(s), and [dk / d ln(shape)], in the precision of ``s``: chapter 4.2.1."""
    if kernel == "rbf":
        k = np.exp(-s / 2)
        return k, k, []
    if kernel == "rational_quadratic":
        (a,) = shape
        u = s / (2 * a)
        logarithm = np.log1p(u)
        k = np.exp(-a * logarithm)  # (1 + u)^-a, without rounding 1 + u where a is large
        return k, k / (1 + u), [a * k * (u / (1 + u) - logarithm)]
    r = np.sqrt({"matern12": 1, "matern32": 3, "matern52": 5, "matern72": 7}[kernel] * s)
    e = np.exp(-r)
    if kernel == "matern12":
        return e, np.divide(e, r, out=np.zeros_like(r), where=r != 0), []
    if kernel == "matern32":
        return (1 + r) * e, 3 * e, []
    if kernel == "matern52":
        return (1 + r + r * r / 3) * e, (1 + r) * e * 5 / 3, []
    return (1 + r + r * r * 2 / 5 + r * r * r / 15) * e, (3 + 3 * r + r * r) * e * 7 / 15, []


def squared_differences(term, X, Z):
    """(x_i - z_i)^2 / length_scale_i^2, (d, n, k): differenced before it is scaled; 0 in columns the term does not use."""
    D = ((X[:, None, :] - Z[None, :, :]) / term.length_scale) ** 2
    if term.columns is not None:
        others = [i for i in range(X.shape[1]) if i not in term.columns]
        D[:, :, others] = 0.0
    return np.moveaxis(D, 2, 0)


def covariance(terms, X, Z=None):
    """Sum of the terms' covariances, without noise."""
    Z = X if Z is None else Z
    total = 0.0
    for term in terms:
        s = squared_differences(term, X, Z).sum(axis=0)
        total = total + term.signal_variance * profile(term.kernel, s, term.shape)[0]
    return total


def covariance_derivatives(term, X):
    """dK / d ln length_scale_i for all i, then dK / d ln signal_variance, then dK / d ln(shape): a list of n x n arrays."""
    D = squared_differences(term, X, X)
    k, w, of_shape = profile(term.kernel, D.sum(axis=0), term.shape)
    return [term.signal_variance * dk for dk in [*(w * D), k, *of_shape]]


def vjp(Q, term, X):
    """d <Q, K> with respect to [ln length_scale ..., ln signal_variance, ln shape ...]."""
    return np.array([np.sum(Q * dK) for dK in covariance_derivatives(term, X)])


def noisy_covariance(terms, X, diagonal):
    K = covariance(terms, X)
    return K + np.eye(len(X)) * diagonal


def log_marginal_likelihood(terms, X, y, diagonal):
    """(2.30), summed over the columns of y."""
    y = y.reshape(len(X), -1)
    n, m = y.shape
    K = noisy_covariance(terms, X, diagonal)
    sign, logarithm = np.linalg.slogdet(K)  # of a complex K: the sign carries the imaginary part
    logdet = logarithm + (np.log(sign) if np.iscomplexobj(K) else 0.0)
    return -0.5 * np.sum(y * np.linalg.solve(K, y)) - 0.5 * m * logdet - 0.5 * n * m * np.log(2 * np.pi)


def weights(terms, X, y, diagonal):
    """alpha = K^-1 y and Q = sum_t alpha_t alpha_t' - m K^-1."""
    y = y.reshape(len(X), -1)
    K_inverse = np.linalg.inv(noisy_covariance(terms, X, diagonal))
    alpha = K_inverse @ y
    return alpha, alpha @ alpha.T - y.shape[1] * K_inverse


def gradients(terms, X, y, diagonal):
    """(5.9) for each term: derivatives with respect to [ln length_scale ..., ln signal_variance, ln shape ...]."""
    Q = weights(terms, X, y, diagonal)[1]
    return [0.5 * vjp(Q, term, X) for term in terms]


def gradient(term, X, y, noise_variance, observation_variance=0.0):
    """The whole gradient for one term, [ln length_scale ..., ln signal_variance, ln noise_variance, ln shape ...]."""
    Q = weights([term], X, y, noise_variance + observation_variance)[1]
    d = X.shape[1]
    of_term = 0.5 * vjp(Q, term, X)
    of_noise = 0.5 * noise_variance * np.trace(Q)
    return np.concatenate([of_term[: d + 1], [of_noise], of_term[d + 1 :]])


def of_theta(kernel, theta, X, y, observation_variance=0.0):
    """The log marginal likelihood as a function of theta = ln [length_scale ..., signal, noise, shape ...]."""
    d = X.shape[1]
    natural = np.exp(theta)
    term = Term(kernel, natural[:d], natural[d], tuple(natural[d + 2 :]))
    return log_marginal_likelihood([term], X, y, natural[d + 1] + observation_variance)


def leave_one_out(terms, X, y, diagonal):
    """Each target predicted by a refit to all the others: means (n, m), variances (n,), and the sum of the log densities."""
    n = len(X)
    y, diagonal = y.reshape(n, -1), np.broadcast_to(diagonal, n)
    own = noisy_covariance(terms, X, diagonal).diagonal()
    means, variances, total = [], [], 0.0
    for i in range(n):
        rest = np.arange(n) != i
        across = covariance(terms, X[i : i + 1], X[rest])
        K = noisy_covariance(terms, X[rest], diagonal[rest])
        mean, variance = across @ np.linalg.solve(K, y[rest]), own[i] - (across @ np.linalg.solve(K, across.T))[0, 0]
        total = total - 0.5 * np.sum((y[i] - mean) ** 2 / variance + np.log(2 * np.pi * variance))  # (5.10)
        means.append(mean[0])
        variances.append(variance)
    return np.array(means), np.array(variances), total


def leave_one_out_of_theta(kernel, theta, X, y, observation_variance=0.0):
    """Its log density as a function of theta = ln [length_scale ..., signal, noise, shape ...]."""
    d = X.shape[1]
    natural = np.exp(theta)
    term = Term(kernel, natural[:d], natural[d], tuple(natural[d + 2 :]))
    return leave_one_out([term], X, y, natural[d + 1] + observation_variance)[2]


def complex_step(function, x, step=1e-30):
    """The gradient of an analytic function of a vector."""
    result = np.empty(len(x))
    for i in range(len(x)):
        moved = np.array(x, dtype=complex)
        moved[i] += 1j * step
        result[i] = function(moved).imag / step
    return result


def hessian(kernel, theta, X, y, observation_variance=0.0):
    """Second derivatives of the log marginal likelihood by theta: the complex step of (5.9)."""
    d = X.shape[1]

    def by_theta(theta):
        natural = np.exp(theta)
        term = Term(kernel, natural[:d], natural[d], tuple(natural[d + 2 :]))
        return gradient(term, X, y, natural[d + 1], observation_variance)

    return np.array([by_theta(theta + 1e-30j * direction).imag / 1e-30 for direction in np.eye(len(theta))])


def average_information(kernel, theta, X, y, observation_variance=0.0):
    """alpha' K_a K^-1 K_b alpha / 2."""
    d = X.shape[1]
    natural = np.exp(theta)
    term = Term(kernel, natural[:d], natural[d], tuple(natural[d + 2 :]))
    diagonal = natural[d + 1] + observation_variance
    alpha = weights([term], X, y, diagonal)[0]
    derivatives = covariance_derivatives(term, X)
    derivatives.insert(d + 1, natural[d + 1] * np.eye(len(X)))
    moved = [dK @ alpha for dK in derivatives]
    K = noisy_covariance([term], X, diagonal)
    return 0.5 * np.array([[np.sum(a * np.linalg.solve(K, b)) for b in moved] for a in moved])


def predict(term, X, y, diagonal, Z):
    """Mean (k, m) and covariance (k, k) of the function at Z, for zero prior mean: (2.23) and (2.24)."""
    K = noisy_covariance([term], X, diagonal)
    across = covariance([term], Z, X)
    mean = across @ np.linalg.solve(K, y.reshape(len(X), -1))
    return mean, covariance([term], Z) - across @ np.linalg.solve(K, across.T)


def conditional_log_likelihood(terms, X, y, diagonal, own, given):
    """ln p(y_own | y_given), summed over the columns of y; ``own`` and ``given`` are rows: (A.6), page 200."""
    diagonal = np.broadcast_to(diagonal, len(X))
    y = y.reshape(len(X), -1)
    K = noisy_covariance(terms, X[given], diagonal[given])
    across = covariance(terms, X[own], X[given])
    rest = y[own] - across @ np.linalg.solve(K, y[given])
    S = noisy_covariance(terms, X[own], diagonal[own]) - across @ np.linalg.solve(K, across.T)
    sign, logarithm = np.linalg.slogdet(S)
    logdet = logarithm + (np.log(sign) if np.iscomplexobj(S) else 0.0)
    count = rest.size
    return -0.5 * (np.sum(rest * np.linalg.solve(S, rest)) + y.shape[1] * logdet + count * np.log(2 * np.pi))


def vecchia_of_theta(kernel, theta, X, y, first, blocks, observation_variance=0.0):
    """ln p of the rows ``first``, and of each of ``blocks`` (own rows, given rows), as a function of theta."""
    d = X.shape[1]
    natural = np.exp(theta)
    terms = [Term(kernel, natural[:d], natural[d], tuple(natural[d + 2 :]))]
    diagonal = np.broadcast_to(natural[d + 1] + observation_variance, len(X))
    total = log_marginal_likelihood(terms, X[first], y[first], diagonal[first])
    for own, given in blocks:
        total = total + conditional_log_likelihood(terms, X, y, diagonal, own, given)
    return total


def expected_information(kernel, theta, X, observation_variance=0.0):
    """tr(K^-1 K_a K^-1 K_b) / 2, of one output: (5.9) squared, on average."""
    d = X.shape[1]
    natural = np.exp(theta)
    term = Term(kernel, natural[:d], natural[d], tuple(natural[d + 2 :]))
    K = noisy_covariance([term], X, natural[d + 1] + observation_variance)
    derivatives = covariance_derivatives(term, X)
    derivatives.insert(d + 1, natural[d + 1] * np.eye(len(X)))
    solved = [np.linalg.solve(K, dK) for dK in derivatives]
    return 0.5 * np.array([[np.sum(a * b.T) for b in solved] for a in solved])


def least_squares(terms, X, y, H, diagonal):
    """Coefficients (p, m) of the basis H by generalised least squares, and A = H' K^-1 H: section 2.7."""
    K = noisy_covariance(terms, X, diagonal)
    A = H.T @ np.linalg.solve(K, H)
    return np.linalg.solve(A, H.T @ np.linalg.solve(K, y.reshape(len(X), -1))), A


def log_marginal_likelihood_with_mean(terms, X, y, H, diagonal, restricted):
    """(2.30) of y - H beta at the best beta; or restricted, (2.45) and ln|H'H| / 2 for each column of y."""
    y = y.reshape(len(X), -1)
    beta, A = least_squares(terms, X, y, H, diagonal)
    value = log_marginal_likelihood(terms, X, y - H @ beta, diagonal)
    if not restricted:
        return value
    sign, logarithm = np.linalg.slogdet(A)
    logdet = logarithm + (np.log(sign) if np.iscomplexobj(A) else 0.0)
    units = np.linalg.slogdet(H.T @ H)[1]
    return value - 0.5 * y.shape[1] * (logdet - units - H.shape[1] * np.log(2 * np.pi))


def of_theta_with_mean(kernel, theta, X, y, H, restricted, observation_variance=0.0):
    """The same as a function of theta = ln [length_scale ..., signal, noise, shape ...]."""
    d = X.shape[1]
    natural = np.exp(theta)
    terms = [Term(kernel, natural[:d], natural[d], tuple(natural[d + 2 :]))]
    return log_marginal_likelihood_with_mean(terms, X, y, H, natural[d + 1] + observation_variance, restricted)


def predict_with_mean(terms, X, y, H, diagonal, Z, H_at_Z):
    """Mean (k, m) and covariance (k, k) of the function at Z: (2.41) and (2.42)."""
    K = noisy_covariance(terms, X, diagonal)
    beta, A = least_squares(terms, X, y, H, diagonal)
    across = covariance(terms, Z, X)
    mean = H_at_Z @ beta + across @ np.linalg.solve(K, y.reshape(len(X), -1) - H @ beta)
    R = H_at_Z - across @ np.linalg.solve(K, H)
    return mean, covariance(terms, Z) - across @ np.linalg.solve(K, across.T) + R @ np.linalg.solve(A, R.T)


def leave_one_out_with_mean(terms, X, y, H, diagonal):
    """`leave_one_out` with the coefficients of the other points too."""
    n = len(X)
    y, diagonal = y.reshape(n, -1), np.broadcast_to(diagonal, n)
    means, variances, total = [], [], 0.0
    for i in range(n):
        rest = np.arange(n) != i
        one = slice(i, i + 1)
        mean, variance = predict_with_mean(terms, X[rest], y[rest], H[rest], diagonal[rest], X[one], H[one])
        variance = variance[0, 0] + diagonal[i]
        total = total - 0.5 * np.sum((y[i] - mean[0]) ** 2 / variance + np.log(2 * np.pi * variance))
        means.append(mean[0])
        variances.append(variance)
    return np.array(means), np.array(variances), total


def leave_one_out_of_theta_with_mean(kernel, theta, X, y, H):
    """Its log density as a function of theta = ln [length_scale ..., signal, noise, shape ...]."""
    d = X.shape[1]
    natural = np.exp(theta)
    term = Term(kernel, natural[:d], natural[d], tuple(natural[d + 2 :]))
    return leave_one_out_with_mean([term], X, y, H, natural[d + 1])[2]


def log_marginal_likelihood_with_own_variances(terms, X, y, H, diagonal, restricted):
    """The same where column t of y has its own covariance, s_t times that of ``terms`` and ``diagonal``, at the best s_t."""
    n, total = len(X), 0.0
    beta = least_squares(terms, X, y, H, diagonal)[0]
    K = noisy_covariance(terms, X, diagonal)
    for t in range(y.shape[1]):
        rest = y[:, t] - H @ beta[:, t]
        s = rest @ np.linalg.solve(K, rest) / (n - H.shape[1] if restricted else n)
        own = [term._replace(signal_variance=s * term.signal_variance) for term in terms]
        total = total + log_marginal_likelihood_with_mean(own, X, y[:, t], H, s * diagonal, restricted)
    return total
