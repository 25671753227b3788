"""The report as a page of HTML: one file with its pictures in it, for a browser or a printer, with no network."""

import base64
import html
import io
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from fastard._cli.export import write
from fastard._cli.kinds import EPOCH
from fastard._cli.report import coefficients, facts
from fastard._cli.study import Study
from fastard._config import show_config
from fastard._model import plots
from fastard._model.sensitivity import shown_share
from fastard._text import printable, quoted

_MOST_DRAWN = 1000  # points as shapes; a picture of more is smaller, and quicker to show, as pixels

_MOST_EFFECTS = 12  # panels

_IN_DAYS = f"""
for name in {{!r}}:  # dates, which were trained on as days since {EPOCH}
    moments = pandas.to_datetime(table[name], utc=True, format="ISO8601")
    table[name] = (moments - pandas.Timestamp("{EPOCH}", tz="UTC")) / pandas.Timedelta(days=1)
"""

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 1rem 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .5rem; border-bottom: 1px solid #ccc; }
p { margin: .5rem 0; max-width: 46rem; overflow-wrap: anywhere; }
.warning { border-left: .3rem solid #b3261e; background: #fbeeed; padding: .5rem .8rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top; }
th { border-bottom: 1px solid #888; font-weight: 600; }
td { border-bottom: 1px solid #eee; }
td:first-child { overflow-wrap: anywhere; min-width: 6rem; }
th.number, td.number { text-align: right; white-space: nowrap; }
.pictures { display: grid; gap: 1.5rem; margin-top: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); }
figure { margin: 0; max-width: 34rem; break-inside: avoid; }
img { max-width: 100%; height: auto; }
pre { background: #f4f4f4; padding: .6rem .8rem; overflow-x: auto; font-size: .9rem; }
@media (max-width: 40rem) { body { padding: .7rem; } th, td { padding-right: .6rem; } .facts td { display: block; border: 0; }
  .facts td:first-child { font-weight: 600; padding-top: .4rem; } }
@media print { body { font-size: 11px; max-width: none; padding: 0; } h2 { break-after: avoid; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; } tr { break-inside: avoid; }
  .pictures { grid-template-columns: 1fr 1fr; } }
"""


def write_page(study: Study, path: str, data: str, saved: str | None) -> None:
    """The page of a study of the file ``data``, whose model was saved or not."""
    text = page(study, data, saved)
    write(path, lambda file: file.write(text.encode()))


def page(study: Study, data: str, saved: str | None) -> str:
    """The whole document."""
    target = study.training.target_name
    body = [f"<h1>{_text(target)}</h1>", _paragraph(f"{study.summary.title}. From {data}.")]
    body += _warnings(study) + _inputs(study) + _effects(study) + _mean(study) + _judged(study)
    body += ["<h2>The model</h2>", _paragraph(f"In units of {target}, squared for variances."), _table((), facts(study), "<<")]
    body += _use(study, saved) + _made(study)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(target)}: Gaussian process</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _warnings(study: Study) -> list[str]:
    """What is wrong with the fit, if anything is."""
    return [f'<p class="warning">{_text(note[0].upper() + note[1:])}.</p>' for note in study.summary.notes]


def _inputs(study: Study) -> list[str]:
    summary = study.summary
    number = ">" * (len(summary.header) - 2)

    def draw(axes: Any) -> None:
        plots.draw_relevance(axes, study.model, summary.inputs)

    parts = [
        "<h2>Inputs by relevance</h2>",
        _paragraph(
            "The standard deviation of each input over its length scale, scaled to sum 1. "
            f"{summary.about_relevance} A strong but nearly linear influence has a small one."
        ),
        _table(summary.header, summary.rows(), f"<{number}<"),
    ]
    if summary.inputs:
        height = plots.relevance_height(len(summary.inputs))
        parts.append(_pictures([_picture(draw, height, 0, "relevance of each input, with standard errors")]))
    return parts + [_paragraph(f"Note: {note}") for note in study.training.notes]


def _effects(study: Study) -> list[str]:
    """How much of the variance each input makes, and how; nothing where that takes long."""
    shares, found = study.shares, study.effects
    if shares is None or found is None:
        return []
    order = np.argsort(-shares.total, kind="stable")
    rows = [(shares.names[i], shown_share(shares.first_order[i], 2), shown_share(shares.total[i], 2)) for i in order]
    axes = plots.draw_effects(_panels, study.model, found, _MOST_EFFECTS)
    return [
        "<h2>Shares of the variance, and main effects</h2>",
        _paragraph(
            "How much of the variance of the model's predictions is due to each input (Sobol' indices): alone, and in all "
            "with its part in interactions. Here the inputs are independent, each uniform over its range in the data."
        ),
        _table(("input", "alone", "in all"), rows, "<>>"),
        _paragraph(
            "A main effect is the prediction over one input, averaged over all others; the strongest are drawn on one scale, "
            "with two standard deviations of that average."
        ),
        _pictures([_embedded(axes[0].figure, 0, "main effects of the inputs")]),
    ]


def _mean(study: Study) -> list[str]:
    if study.coefficients is None:
        return []
    grid = coefficients(study.coefficients)
    return [f"<h2>{grid.title}</h2>", _table(grid.header, grid.rows, grid.align)]


def _judged(study: Study) -> list[str]:
    """How good the predictions are: of each training row from the others, and of rows that were held out."""
    loo, model = study.summary.loo, study.model
    sources = [] if loo is None else [plots.left_out(model, loo)]
    if study.predicted is not None:
        sources.append(plots.judged(model, "held-out rows", "predicted", *study.predicted))
    parts = ["<h2>How good are the predictions?</h2>"]
    if not sources:
        return [*parts, _paragraph("No rows were held out to judge them by: --test-fraction 0.1 holds out a tenth.")]
    if loo is not None:
        parts.append(_paragraph("Leave-one-out: each training row is predicted from all the others."))
    if study.predicted is not None:
        parts.append(_paragraph(f"Held out: {len(study.predicted[0])} rows, drawn at random, which were not trained on."))
    parts.append(
        _paragraph(
            "A good model has its points near the diagonal; residuals without a pattern, of which about 5 % lie beyond the "
            "dashed lines; and a calibration curve that stays in the grey band."
        )
    )
    pictures = [_predictions(each) for each in sources]
    of = sources[0]
    pictures.append(_picture(lambda axes: plots.draw_residuals(axes, of), 4.0, of.residuals.size, f"{of.what} residuals"))
    pictures.append(_picture(lambda axes: plots.draw_calibration(axes, of), 4.8, 0, f"{of.what} calibration"))
    return [*parts, _pictures(pictures)]


def _predictions(of: plots.Judged) -> str:
    description = f"{of.what}: predicted against observed"
    return _picture(lambda axes: plots.draw_predictions(axes, of), 5.2, of.residuals.size, description)


def _use(study: Study, saved: str | None) -> list[str]:
    path = saved or "model.npz"
    shell = f"fastard predict {path} new.csv -o predictions.csv"
    dates = study.training.date_names
    in_days = _IN_DAYS.format(dates) if dates else ""
    python = (
        f"import fastard\nimport pandas\n\nmodel = fastard.load({path!r})\nprint(model.summary())\n\n"
        f"table = pandas.read_csv('new.csv')[model.feature_names]{in_days}\n"
        "mean, std = model.predict(table, return_std=True, include_noise=True)"
    )
    names = ", ".join(map(quoted, study.training.input_names[:12])) + (", ..." if len(study.training.input_names) > 12 else "")
    told = f"The model is in {saved}." if saved else "The model was not saved; --save model.npz does it."
    return [
        "<h2>Using the model</h2>",
        _paragraph(f"{told} It predicts tables with the columns {names}, in any order. From the shell:"),
        f"<pre>{_text(shell)}</pre>",
        _paragraph("From Python:"),
        f"<pre>{html.escape(python)}</pre>",
    ]


def _made(study: Study) -> list[str]:
    config = show_config(mode="dicts")
    assert config is not None
    rows = [("date", datetime.now().astimezone().isoformat(" ", "minutes"))]
    rows += [(name, str(value)) for name, value in config["versions"].items()]
    rows += [("processor", str(config["processor"]["name"])), ("threads", str(study.model.n_threads))]
    return ["<h2>How it was made</h2>", _table((), rows, "<<")]


def _text(text: str) -> str:
    return html.escape(printable(text))


def _paragraph(text: str) -> str:
    return f"<p>{_text(text)}</p>"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], align: str) -> str:
    """Without a header one of facts, whose first column names them."""

    def line(cells: Sequence[str], kind: str) -> str:
        sides = (' class="number"' if side == ">" else "" for side in align)
        return (
            "<tr>"
            + "".join(f"<{kind}{side}>{_text(cell)}</{kind}>" for side, cell in zip(sides, cells, strict=True))
            + "</tr>"
        )

    lines = [line(header, "th")] if header else []
    lines += [line(row, "td") for row in rows]
    return f'<div class="wide"><table{"" if header else " class=facts"}>' + "\n".join(lines) + "</table></div>"


def _pictures(figures: list[str]) -> str:
    return f'<div class="pictures">{"".join(figures)}</div>'


def _picture(draw: Callable[[Any], object], height: float, points: int, description: str) -> str:
    axes = _panels(height, 1, 1)
    draw(axes)
    return _embedded(axes.figure, points, description)


def _panels(height: float, rows: int, columns: int) -> Any:
    """Axes without pyplot: no display, and nobody's backend is changed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2 if columns == 1 else 6.4, height), layout="constrained")
    return figure.subplots(rows, columns, sharey=True)


def _embedded(figure: Any, points: int, description: str) -> str:
    file, kind = io.BytesIO(), ("svg+xml" if points <= _MOST_DRAWN else "png")
    figure.savefig(file, format=kind.removesuffix("+xml"), dpi=200)
    data = base64.b64encode(file.getvalue()).decode()
    return f'<figure><img alt="{_text(description)}" src="data:image/{kind};base64,{data}"></figure>'
