"""The command line: ``fastard`` or ``python -m fastard``."""

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from fastard._text import listed, printable, quoted
from fastard.exceptions import NotPositiveDefiniteError
from fastard.kernels import BY_NAME

_KERNEL, _KERNEL_OF_MANY, _NEIGHBORS = "rbf", "matern52", 64

_ADVICE = "a search takes some 50 evaluations; --vecchia trains in minutes by an approximation, and says what it loses"

_EXIT_STATUS = """\
exit status: 0 done (also where the search did not converge: the report says so), 1 failed,
2 wrong arguments or data, 130 interrupted before there was anything to report"""


class OptionsError(ValueError):
    """Options that do not go together; the message is one line and names them."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, not the usage too."""
        self.exit(2, printable(f"{self.prog}: error: {message} (see {self.prog} --help)") + "\n")


def _parser() -> argparse.ArgumentParser:
    from fastard._version import __version__

    plain = argparse.RawDescriptionHelpFormatter
    parser = _Parser(
        prog="fastard",
        description="Train a Gaussian process with one length scale for each input, and see which inputs matter.",
        epilog=_EXIT_STATUS,
        formatter_class=plain,
    )
    parser.add_argument("--version", action="version", version=f"fastard {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    fit = commands.add_parser(
        "fit",
        help="train on a table and report",
        description="Train on a table of numbers, categories and dates, and report the inputs by relevance, the noise and "
        "held-out errors.",
        epilog=_EXIT_STATUS,
        formatter_class=plain,
    )
    fit.add_argument(
        "data",
        type=_not_blank,
        metavar="data.csv",
        help="a table separated by commas, semicolons, tabs or blanks, with or without a header; ARFF; and, with "
        "fastard[files], Parquet or the first sheet of an Excel workbook",
    )
    fit.add_argument(
        "--target",
        type=_not_blank,
        metavar="COLUMN",
        help="what to predict: a column's name in the header, or its number from 1, or from the end from -1; without it the "
        "columns are listed",
    )
    for option, what in (("--inputs", "to predict it from (default: all others)"), ("--ignore", "to leave out")):
        fit.add_argument(
            option,
            type=_not_blank,
            action="append",
            default=[],
            metavar="COLUMNS",
            help=f"columns {what}: names or numbers with commas between them; may be given again",
        )
    fit.add_argument(
        "--categorical",
        type=_not_blank,
        action="append",
        default=[],
        metavar="COLUMNS",
        help="inputs whose entries are categories, numbers of machines say (default: those that hold a few texts)",
    )
    fit.add_argument(
        "--periodic",
        type=_not_blank,
        action="append",
        default=[],
        metavar="COLUMN=P",
        help="an input that repeats after P of its units, wind=360 say; may be given again (default: none)",
    )
    _add_reading(fit)
    fit.add_argument(
        "--kernel",
        choices=BY_NAME,
        help=f"one of {', '.join(BY_NAME)} (default: {_KERNEL}; {_KERNEL_OF_MANY} with --vecchia)",
        metavar="NAME",
    )
    fit.add_argument(
        "--mean",
        choices=("constant", "zero", "linear", "quadratic"),
        default="constant",
        metavar="NAME",
        help="what the predictions go back to far from the data: constant, the mean of the target; zero; or linear or "
        "quadratic in the inputs, with coefficients that the report shows (default: constant)",
    )
    fit.add_argument(
        "--mean-estimation",
        choices=("ml", "reml"),
        metavar="NAME",
        help="with --mean linear or quadratic: ml, the best coefficients; or reml, which integrates them out, better where "
        "rows are few (default: ml)",
    )
    fit.add_argument(
        "--vecchia",
        action="store_true",
        help="for many rows, 20 000 to millions: train by an approximation, which the report says the error of "
        "(default: train exactly)",
    )
    fit.add_argument(
        "--neighbors",
        type=_positive_number,
        metavar="N",
        help=f"with --vecchia: more take longer and lose less (default: {_NEIGHBORS})",
    )
    fit.add_argument(
        "--restarts", type=_natural_number, default=0, metavar="N", help="further searches from random starts (default: 0)"
    )
    fit.add_argument(
        "--test-fraction",
        type=_fraction,
        default=0.1,
        metavar="F",
        help="share of the rows to keep out of training and measure errors on; 0 trains on all rows, as is best for a model "
        "that is saved (default: 0.1, a tenth)",
    )
    fit.add_argument(
        "--seed", type=_natural_number, default=0, metavar="N", help="for the rows held out and the restarts (default: 0)"
    )
    fit.add_argument(
        "--plot",
        type=_not_blank,
        metavar="FILE",
        help="draw the relevances to a .png, .pdf or .svg; needs fastard[cli] (default: no chart)",
    )
    fit.add_argument(
        "--report",
        type=_not_blank,
        metavar="FILE",
        help="write an HTML page of tables and pictures, report.html say; needs fastard[cli] (default: not written)",
    )
    fit.add_argument(
        "--json",
        type=_not_blank,
        metavar="FILE",
        help="write the hyperparameters and errors, as JSON (default: not written)",
    )
    fit.add_argument(
        "--save",
        type=_not_blank,
        metavar="FILE",
        help="write the model, model.npz say, for fastard predict and fastard.load (default: not written)",
    )
    _add_threads(fit)

    predict = commands.add_parser(
        "predict",
        help="predict the rows of a table by a model that fit --save wrote",
        description="Predict each row of a table by a saved model: mean, standard deviation, 95 % interval, and how far the\n"
        "row lies outside the range of the training data, in widths of that range (0 inside).",
        epilog=_EXIT_STATUS,
        formatter_class=plain,
    )
    predict.add_argument("model", type=_not_blank, metavar="model.npz", help="what fit --save, or model.save, wrote")
    predict.add_argument(
        "data", type=_not_blank, metavar="new.csv", help="a table as fit takes it, with the inputs' columns, in any order"
    )
    predict.add_argument(
        "-o",
        "--output",
        type=_not_blank,
        metavar="FILE",
        help="write CSV: the rows, and the predictions behind them (default: to the terminal)",
    )
    predict.add_argument(
        "--function",
        action="store_true",
        help="intervals of the function itself (default: of new measurements, noise included)",
    )
    _add_reading(predict)
    _add_threads(predict)

    demo = commands.add_parser(
        "demo",
        help="train on a known function, check the answer, time an evaluation",
        description="Train on the borehole function of 8 inputs, check what is found and the gradient, time an evaluation.",
        epilog="exit status: 0 all as it should be, 1 a check failed",
    )
    demo.add_argument("--n", type=_demo_rows, default=400, metavar="N", help="rows to train on, at least 50 (default: 400)")
    _add_threads(demo)

    commands.add_parser(
        "info",
        help="show versions, processor, threads, BLAS and the cache",
        description="Show versions, processor, threads, BLAS and the cache directory: what a bug report needs.",
    )
    return parser


def _add_reading(parser: argparse.ArgumentParser) -> None:
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--header",
        action="store_true",
        default=None,
        help="line 1 holds the columns' names (default: it does if something in it is no number)",
    )
    choice.add_argument("--no-header", dest="header", action="store_false", help="line 1 is data")
    parser.add_argument(
        "--drop-missing",
        action="store_true",
        help="leave out rows that lack a value in a column that is used (default: such rows are an error)",
    )


def _add_threads(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--threads",
        type=_positive_number,
        metavar="N",
        help="threads for fastard's own loops; BLAS has its own setting (default: all cores available)",
    )


def _not_blank(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError(f"must not be empty, got {text!r}")
    return text


def _whole_number(text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"must be a whole number >= {least}, got {text!r}")
    return number


def _natural_number(text: str) -> int:
    return _whole_number(text, 0)


def _positive_number(text: str) -> int:
    return _whole_number(text, 1)


def _demo_rows(text: str) -> int:
    from fastard._cli.demo import LEAST_ROWS

    return _whole_number(text, LEAST_ROWS)


def _fraction(text: str) -> float:
    try:
        fraction = float(text)
    except ValueError:
        fraction = -1.0
    if not 0.0 <= fraction < 1.0:
        raise argparse.ArgumentTypeError(f"must be at least 0 and less than 1, 0.2 for a fifth of the rows; got {text!r}")
    return fraction


def _fit(options: argparse.Namespace) -> int:
    from fastard._cli.export import check_destination, check_matplotlib, save_model, write_chart, write_json
    from fastard._cli.report import show_study
    from fastard._cli.study import split, study
    from fastard._cli.tables import read_dataset
    from fastard._progress import note, progress
    from fastard._warmup import compiling_beside

    if options.neighbors is not None and not options.vecchia:
        raise OptionsError("--neighbors is of --vecchia; add that, or leave it out")
    if options.restarts and options.vecchia:
        raise OptionsError("--vecchia has one search, from where the exact one on some of the rows ends; leave --restarts out")
    if options.mean != "constant" and options.vecchia:
        raise OptionsError("--vecchia has a constant mean; leave --mean out")
    if options.mean_estimation and options.mean not in ("linear", "quadratic"):
        raise OptionsError("--mean-estimation is of --mean linear and --mean quadratic; add one of them, or leave it out")
    if options.target is None:
        return _list_columns(options)
    check_destination(options.json, options.data)
    check_destination(options.save, options.data)
    check_destination(options.plot, options.data, is_chart=True)
    check_destination(options.report, options.data)
    if options.report:
        check_matplotlib("--report")
    data = read_dataset(
        options.data,
        options.target,
        options.header,
        inputs=options.inputs,
        ignore=options.ignore,
        categorical=options.categorical,
        periodic=options.periodic,
        drop_missing=options.drop_missing,
    )
    for line in data.notes:
        note(f"fastard: {options.data}: {line}")
    if data.encoded and options.vecchia:
        names = listed([quoted(name) for name in data.encoded])
        raise OptionsError(
            f"--vecchia is for inputs that are all numbers, and these hold categories or are periodic: {names}; leave them "
            "out by --ignore, or make them numbers in the file"
        )
    training, test = split(data, options.test_fraction, options.seed)
    kernel = options.kernel or (_KERNEL_OF_MANY if options.vecchia else _KERNEL)
    with compiling_beside(kernel, 1 if options.vecchia else options.threads):
        with progress(_ADVICE) as callback:
            result = study(
                training,
                test,
                callback=callback,
                kernel=kernel,
                n_restarts=options.restarts,
                seed=options.seed,
                n_threads=options.threads,
                mean=options.mean,
                mean_estimation=options.mean_estimation or "ml",
                neighbors=(options.neighbors or _NEIGHBORS) if options.vecchia else None,
            )
        with contextlib.ExitStack() as others:  # what was learned is not lost where one of the ways to tell it fails
            if options.plot:
                others.callback(write_chart, result, options.plot)
            if options.report:
                from fastard._cli.page import write_page

                others.callback(write_page, result, options.report, options.data, options.save)
            if options.json:
                others.callback(write_json, result, options.json)
            if options.save:
                others.callback(save_model, result, options.save)
            show_study(result)
    return 0


def _list_columns(options: argparse.Namespace) -> int:
    from fastard._cli.report import Grid, show
    from fastard._cli.tables import describe_columns
    from fastard._progress import note

    rows, notes = describe_columns(options.data, options.header)
    for line in notes:
        note(f"fastard: {options.data}: {line}")
    show(Grid(f"Columns of {options.data}", "><<", ("number", "name", "holds"), rows, gives_way=2))
    raise OptionsError("which of these columns is to be predicted? Add --target and its name or number")


def _predict(options: argparse.Namespace) -> int:
    from fastard._cli.export import check_destination
    from fastard._cli.predict import predict_table, tell_outside, write_predictions
    from fastard._progress import note

    check_destination(options.output, options.data)
    check_destination(options.output, options.model, what="model")
    predicted = predict_table(
        options.model,
        options.data,
        options.header,
        drop_missing=options.drop_missing,
        include_noise=not options.function,
        n_threads=options.threads,
    )
    for line in predicted.points.notes:
        note(f"fastard: {options.data}: {line}")
    tell_outside(predicted)
    write_predictions(predicted, options.output)
    return 0


def _demo(options: argparse.Namespace) -> int:
    from fastard._cli.demo import run
    from fastard._warmup import compiling_beside

    with compiling_beside(_KERNEL, options.threads):
        return 0 if run(options.n, options.threads) else 1


def _info(_: argparse.Namespace) -> int:
    from fastard._config import show_config

    show_config()
    return 0


_COMMANDS = {"fit": _fit, "predict": _predict, "demo": _demo, "info": _info}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program's name; those of the process by default.

    Returns
    -------
    status : int
        The exit status.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a column's name in letters that the stream has not is no reason to fail
            stream.reconfigure(errors="replace")
    options = _parser().parse_args(arguments)
    try:
        status = _COMMANDS[options.command](options)
        if sys.stdout is not None:
            sys.stdout.flush()
    except (NotPositiveDefiniteError, MemoryError) as error:  # the first is a ValueError too
        return _complain(options.command, str(error) or "not enough memory; take fewer rows", 1)
    except ValueError as error:
        return _complain(options.command, error, 2)
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        return 1
    except OSError as error:
        return _complain(options.command, f"{error.filename or 'standard output'}: {error.strerror or error}", 1)
    except KeyboardInterrupt:
        return _complain(options.command, "interrupted", 130)
    finally:
        _drop_what_cannot_be_written()
    return status


def _complain(command: str, error: object, status: int) -> int:
    from fastard._progress import note

    note(f"fastard {command}: error: {error}")
    return status


def _drop_what_cannot_be_written() -> None:
    """Lest the interpreter tries it again when it ends, and complains in its own way."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
