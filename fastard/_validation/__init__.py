"""Arguments in, C-contiguous float64 out: the only place that raises errors about what a user passed.

    arrays       Is it an array of finite real numbers? If not: what is it, and what to pass in its place.
    names        What are the columns and the targets called, and which of them does a name mean?
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
    input_distribution,
    inputs,
    known_variances,
    no_overflow,
    others_to_predict_from,
    some_columns,
    targets,
    units,
    variances_of_more_points,
    variances_of_points,
    warn_of_scales,
    weights,
)
from fastard._validation.names import by_column, model_to_start_from, names_of_targets, order_of_columns
from fastard._validation.options import (
    axes,
    callback,
    choice,
    client,
    count,
    either,
    generator,
    some_inputs,
    std_or_cov,
    thread_count,
    what_is_not_kept,
)
from fastard._validation.parameters import (
    as_kernel,
    batch,
    bounds,
    groups,
    known_elsewhere,
    length_scale_range,
    length_scales,
    log_parameters,
    min_length_scales,
    number,
    one_each,
    one_length_scale,
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
    "by_column",
    "callback",
    "centred",
    "choice",
    "client",
    "constant",
    "count",
    "either",
    "generator",
    "groups",
    "input_distribution",
    "inputs",
    "known_elsewhere",
    "known_variances",
    "length_scale_range",
    "length_scales",
    "listed",
    "log_parameters",
    "min_length_scales",
    "model_to_start_from",
    "names_of",
    "names_of_targets",
    "no_overflow",
    "number",
    "one_each",
    "one_length_scale",
    "order_of_columns",
    "others_to_predict_from",
    "parameter_names",
    "plain_points",
    "prior_kind",
    "prior_of_each",
    "prior_parameters",
    "prior_value",
    "safe_logarithm",
    "shape_prior",
    "some_columns",
    "some_inputs",
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
    "what_is_not_kept",
]
