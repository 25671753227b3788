"""Arguments in, C-contiguous float64 out: the only place that raises errors about what a user passed.

    arrays       Is it an array of finite real numbers? If not: what is it, and what to pass in its place.
    columns      Which columns are categories, or periodic, and which category is each entry?
    names        What are the columns and the targets called, and which of them does a name mean?
    data         Do X, y and what belongs to their rows fit each other, and those of training?
    noise        Which noise group is each row in?
    parameters   Are the kernel, the hyperparameters, their bounds and ties what they must be?
    priors       Is it a prior density, or one for each parameter?
    mean         Is it a mean, and are its basis functions those of these points?
    options      Is an option one of its values?

A function is named for what it checks or returns, and says what is wrong, what it got, and what to do.
"""

from fastard._text import listed
from fastard._validation.arrays import names_of, plain_points
from fastard._validation.columns import coded, column_kinds, only_numbers
from fastard._validation.data import (
    centred,
    constant,
    input_distribution,
    inputs,
    known_variances,
    no_overflow,
    targets,
    units,
    variances_of_more_points,
    variances_of_points,
    warn_of_scales,
    weights,
)
from fastard._validation.mean import (
    ESTIMATIONS,
    basis,
    basis_of_points,
    constant_mean,
    differentiable_mean,
    has_basis_functions,
    independent,
    mean_anywhere,
    mean_given_again,
    mean_kind,
    mean_of_encoded,
    no_basis,
    no_leverage,
)
from fastard._validation.names import by_column, model_to_start_from, names_of_targets, order_of_columns
from fastard._validation.noise import groups_given_again, no_noise_groups, noise_group_numbers, noise_groups
from fastard._validation.options import (
    axes,
    callback,
    choice,
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
    "ESTIMATIONS",
    "as_kernel",
    "axes",
    "basis",
    "basis_of_points",
    "batch",
    "bounds",
    "by_column",
    "callback",
    "centred",
    "choice",
    "coded",
    "column_kinds",
    "constant",
    "constant_mean",
    "count",
    "differentiable_mean",
    "either",
    "generator",
    "groups",
    "groups_given_again",
    "has_basis_functions",
    "independent",
    "input_distribution",
    "inputs",
    "known_elsewhere",
    "known_variances",
    "length_scale_range",
    "length_scales",
    "listed",
    "log_parameters",
    "mean_anywhere",
    "mean_given_again",
    "mean_kind",
    "mean_of_encoded",
    "min_length_scales",
    "model_to_start_from",
    "names_of",
    "names_of_targets",
    "no_basis",
    "no_leverage",
    "no_noise_groups",
    "no_overflow",
    "noise_group_numbers",
    "noise_groups",
    "number",
    "one_each",
    "one_length_scale",
    "only_numbers",
    "order_of_columns",
    "parameter_names",
    "plain_points",
    "prior_kind",
    "prior_of_each",
    "prior_parameters",
    "prior_value",
    "safe_logarithm",
    "shape_prior",
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
