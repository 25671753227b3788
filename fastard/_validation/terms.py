"""Is it a sum of terms, over columns that there are?"""

import contextlib
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastard._text import listed


def terms_by_name(value: Mapping[Any, Any], kind: type) -> dict[str, Any]:
    """Terms, of the class ``kind``, by their names."""
    if not value:
        raise ValueError("kernel must have at least one term, got an empty dictionary")
    for name, term in value.items():
        if not isinstance(name, str):
            raise TypeError(f"kernel must be a dictionary of terms by their names, text; got the name {name!r}")
        if not isinstance(term, kind):
            raise TypeError(f"kernel[{name!r}] must be a fastard.Term, fastard.Term('rbf', ['a']) say; got {term!r}")
    return dict(value)


def terms_have_names(kernel: Any) -> None:
    """Refuse terms that are in no dictionary."""
    raise TypeError(
        f"kernel must be a dictionary of terms by their names, {{'trend': fastard.Term('rbf', ['a'])}} say; got {kernel!r}"
    )


@contextlib.contextmanager
def naming(what: str) -> Iterator[None]:
    """Errors about arguments are about those of ``what``."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise type(error)(f"in {what}: {error}") from None


def some_columns_of_term(columns: Any) -> list[Any] | None:
    """Those that a term is over, as a list, each one once; None for all."""
    if columns is None:
        return None
    if isinstance(columns, np.ndarray):
        columns = columns.tolist()
    if isinstance(columns, str | bytes | Mapping) or not isinstance(columns, Iterable):
        raise TypeError(f"columns must be a list of columns of X, [{columns!r}] say; got {reprlib.repr(columns)}")
    result: list[Any] = list(columns)
    if not result:
        raise ValueError("columns must be at least one; got none")
    if len(set(map(str, result))) < len(result):
        raise ValueError(f"columns must differ, got {result!r}; a column that stands twice is a shorter length scale")
    return result


def columns_of_term(term: str, columns: Sequence[Any] | None, names: list[str] | None, d: int) -> NDArray[np.int64]:
    """Their numbers; all where None."""
    what = f"the columns of kernel[{term!r}]"
    if columns is None:
        if d == 0:
            raise ValueError(f"{what} must be at least one; got none")
        return np.arange(d)
    known = names if names is not None else [str(i) for i in range(d)]
    found = []
    for column in columns:
        count = known.count(str(column))
        if count != 1:
            there_are = listed([repr(each) for each in known]) if names is not None else f"0 to {d - 1}"
            hint = "" if names is not None else "; X is no DataFrame, so its columns are called by their numbers"
            problem = "several columns have" if count else "is no column of X"
            raise ValueError(f"{what} have {column!r}, which {problem}; there are {there_are}{hint}")
        found.append(known.index(str(column)))
    return np.array(found, dtype=np.int64)


def in_the_terms(**given: Any) -> None:
    """Refuse for the sum what is each term's; ``given`` are arguments of `fit`."""
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"{name} is given beside a sum of terms, each of which has its own: pass it to fastard.Term")


def options_of_terms(objective: str, output_variances: str) -> None:
    """An objective whose gradient is known for sums, and variances that are the terms'."""
    if output_variances != "shared":
        raise ValueError(
            f"output_variances must be 'shared' for a sum of terms, got {output_variances!r}; train a sum for each output"
        )
    if objective == "loo":
        raise ValueError(
            "objective='loo' is for one kernel over all columns, and not for a sum of terms; train the sum by "
            "'log_marginal_likelihood', and judge it by model.loo()"
        )


def start_of_terms(start: Any, kind: type, names: Iterable[str]) -> None:
    """A sum of terms of the same names to start from."""
    if start is None:
        return
    if not isinstance(start, kind):
        raise TypeError(f"start must be a model of a sum of terms, as the kernel is one; got {reprlib.repr(start)}")
    theirs, own = list(start.terms), list(names)  # type: ignore[attr-defined]
    if sorted(theirs) != sorted(own):
        raise ValueError(
            f"start must have the kernel's terms, {listed(own)}; got a model of {listed(theirs)}; leave out start, or give "
            "a model of these terms"
        )


def columns_of_start(theirs: list[Any], own: list[Any]) -> None:
    """Those of a term to start from."""
    if theirs != own:
        raise ValueError(f"start must have the term's columns, {own!r}, in their order; got {theirs!r}")


def one_kernel(start: Any, kind: type) -> None:
    """Refuse a sum to start from where the kernel is none."""
    if isinstance(start, kind):
        raise ValueError("start is a sum of terms, and the kernel is none: leave out kernel, or start")


def told_apart(starts: Mapping[str, tuple[Any, ...]]) -> None:
    """Refuse terms of which nothing differs: by their names kernels, columns and where they start."""
    seen: dict[tuple[Any, ...], str] = {}
    for name, what in starts.items():
        first = seen.setdefault(what, name)
        if first != name:
            raise ValueError(
                f"kernel[{first!r}] and kernel[{name!r}] have the same kernel and columns, and start alike, so that no search "
                "could tell them apart: give one a length_scale to start from, ten times shorter say"
            )


def one_term(what: str, instead: str) -> None:
    """What a sum of terms has not."""
    raise ValueError(f"{what} is for one kernel over all columns, and this model is a sum of terms; {instead}")


def terms_given_again(objective: str, options: Iterable[str]) -> None:
    """Refuse to train a sum again without the priors of its terms."""
    if objective.endswith(" with priors") and "kernel" not in options:
        raise ValueError(
            "the model was trained with priors, which it does not keep: pass kernel, the terms with their priors, again, or "
            "kernel=model.terms to train without"
        )
