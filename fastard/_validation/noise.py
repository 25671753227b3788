"""Which noise group is each row in?"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastard._validation.columns import codes, levels, scalar_entries


def noise_groups(labels: Any, n: int) -> tuple[tuple[Any, ...], NDArray[np.int64]]:
    """The different labels, sorted, and of each of n rows the number of its label."""
    entries = _entries(labels, n)
    found = levels("noise_groups", entries, None)
    return found, np.array(codes("noise_groups", entries, found), dtype=np.int64)


def noise_group_numbers(labels: Any, n: int, known: tuple[Any, ...]) -> NDArray[np.int64]:
    """Of each of n rows the number of its label; one label is all rows'."""
    if labels is None:
        raise ValueError(
            f"noise_groups must be given: the model's noise is by groups, {', '.join(map(repr, known))}; pass the label of "
            "each row of X, or one for all"
        )
    if np.ndim(labels) == 0:
        labels = [labels] * n
    return np.array(codes("noise_groups", _entries(labels, n), known), dtype=np.int64)


def no_noise_groups(labels: Any) -> None:
    """Refuse labels where there are no groups, or noise is not asked for."""
    if labels is not None:
        raise ValueError(
            "noise_groups is given, but no noise by groups is asked for: it goes with include_noise=True, and with a model "
            "that was trained with noise_groups"
        )


def groups_given_again(given: bool) -> None:
    """Refuse to train a model with noise groups again without the new rows'."""
    if not given:
        raise ValueError(
            "the model was trained with noise_groups: pass those of the rows of X, or noise_groups=None to train without"
        )


def _entries(labels: Any, n: int) -> NDArray[Any]:
    entries = scalar_entries(labels)
    if entries.shape != (n,):
        raise ValueError(f"noise_groups must have shape ({n},), a label for each row of X, got {entries.shape}")
    return entries
