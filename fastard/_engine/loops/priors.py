"""Log densities of the hyperparameters' priors, up to constants."""

import math

from fastard._numba.jit import jit, part

FAMILIES = {"lognorm": 0, "gamma": 1, "halfcauchy": 2, "halfnorm": 3, "norm": 4}  # by scipy.stats' names

_LOGNORM, _GAMMA, _HALFCAUCHY, _HALFNORM, _NORM = FAMILIES.values()


@part
def log_density(family, z, a):
    """The log density at z = (x - loc) / scale with the shape parameter ``a``, where it has one, and its slope by z."""
    if family == _NORM:
        return -0.5 * z * z, -z
    if not z > 0.0:
        return -math.inf, 0.0
    if family == _LOGNORM:
        logarithm = math.log(z) / (a * a)
        return -math.log(z) - 0.5 * math.log(z) * logarithm, -(1.0 + logarithm) / z
    if family == _GAMMA:
        return (a - 1.0) * math.log(z) - z, (a - 1.0) / z - 1.0
    if family == _HALFCAUCHY:
        return -math.log1p(z * z), -2.0 * z / (1.0 + z * z)
    return -0.5 * z * z, -z


@jit
def log_densities(family, prior, x, slopes):
    """The sum over the parameters x (P,), and its derivatives by each; -inf where one has no density.

    Those of family[i] < 0 have no prior; prior[i] = [loc, scale, shape], shape (P, 3).
    """
    total = 0.0
    for i in range(x.size):
        slopes[i] = 0.0
        if family[i] >= 0:
            value, slope = log_density(family[i], (x[i] - prior[i, 0]) / prior[i, 1], prior[i, 2])
            total += value
            slopes[i] = slope / prior[i, 1]
    return total
