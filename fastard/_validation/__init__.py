"""Arguments in, C-contiguous float64 out: the only place that raises errors about what a user passed.

    arrays       Is it an array of finite real numbers? If not: what is it, and what to pass in its place.
    data         Do X, y and what belongs to their rows fit each other, and those of training?
    parameters   Are the kernel, the hyperparameters, their bounds and ties what they must be?
    priors       Is it a prior density, or one for each parameter?
    options      Is an option one of its values?

A function is named for what it checks or returns, and says what is wrong, what it got, and what to do.
"""

from fastard._text import listed
from fastard._validation.arrays import names_of, plain_points
from fastard._validation.data import (
    centred,
    constant,
    inputs,
    known_variances,
    no_overflow,
    same_names,
    targets,
    units,
    variances_of_more_points,
    variances_of_points,
    warn_of_scales,
    weights,
)
from fastard._validation.options import axes, callback, choice, count, either, generator, std_or_cov, thread_count
from fastard._validation.parameters import (
    as_kernel,
    batch,
    bounds,
    groups,
    length_scale_range,
    length_scales,
    log_parameters,
    min_length_scales,
    number,
    one_each,
    parameter_names,
    safe_logarithm,
    starts,
    starts_within,
)
from fastard._validation.priors import prior_kind, prior_of_each, prior_parameters, prior_value, shape_prior

__all__ = [
    "as_kernel",
    "axes",
    "batch",
    "bounds",
    "callback",
    "centred",
    "choice",
    "constant",
    "count",
    "either",
    "generator",
    "groups",
    "inputs",
    "known_variances",
    "length_scale_range",
    "length_scales",
    "listed",
    "log_parameters",
    "min_length_scales",
    "names_of",
    "no_overflow",
    "number",
    "one_each",
    "parameter_names",
    "plain_points",
    "prior_kind",
    "prior_of_each",
    "prior_parameters",
    "prior_value",
    "safe_logarithm",
    "same_names",
    "shape_prior",
    "starts",
    "starts_within",
    "std_or_cov",
    "targets",
    "thread_count",
    "units",
    "variances_of_more_points",
    "variances_of_points",
    "warn_of_scales",
    "weights",
]
