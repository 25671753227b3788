"""The command line, show_config and warmup: what they print, write and return, and how they refuse."""

import base64
import code
import contextlib
import csv
import errno
import html.parser
import io
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

import fastard
from fastard import _progress, _warmup
from fastard._cli import baseline as _plain
from fastard._cli import demo as _demo
from fastard._cli import export as _export
from fastard._cli import page as _page
from fastard._cli import report as _report
from fastard._cli import study as _study
from fastard._cli.formats import TableError
from fastard._cli.main import main
from fastard._cli.tables import read_dataset
from fastard._config import show_config
from fastard._files import replace_file
from fastard._numba import threads as _threads
from fastard._progress import TrainingState
from fastard._training.fit import fit
from fastard._warmup import warmup
from fastard.kernels import BY_NAME

N = 60


def _numbers() -> np.ndarray:
    """Three inputs, of which the last is irrelevant, and y = 100 + 20 sin(3 wave) + 5 slope with noise of deviation 1."""
    random = np.random.default_rng(1)
    X = random.uniform(-1.0, 1.0, (N, 3))
    y = 100.0 + 20.0 * np.sin(3.0 * X[:, 0]) + 5.0 * X[:, 1] + random.standard_normal(N)
    return np.column_stack([X, y])


def _csv(path: Path, header: str | None = "wave,slope,idle,y", delimiter: str = ",") -> str:
    lines = [delimiter.join(map(repr, row)) for row in _numbers().tolist()]
    path.write_text("\n".join([header, *lines] if header else lines) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture
def data(tmp_path: Path) -> str:
    return _csv(tmp_path / "data.csv")


def _child(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **environment},
        cwd=Path(__file__).parent.parent,
    )


# --- fit: the report ---------------------------------------------------------------------------------------------


def test_fit_reports_what_was_learned(data: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", data, "--target", "y"]) == 0
    out, err = capsys.readouterr()
    inputs = [line.split() for line in out.splitlines() if line.startswith(("  wave", "  slope", "  idle"))]
    assert [row[0] for row in inputs] == ["wave", "slope", "idle"]
    assert sum(float(row[3]) for row in inputs[:2]) == pytest.approx(1.0, abs=2e-3)
    assert inputs[2][2:] == ["0.000", "no", "visible", "influence"]
    for part in (
        "54 rows, 3 inputs, kernel rbf",
        "log marginal likelihood",
        "on 6 rows",
        "nats per row",
        "evaluations",
        "converged",
        "Q² 0.9",
        " of training, without compilation",
    ):
        assert part in out
    assert "evaluation 1 " in err
    assert "‖gradient‖" in err
    assert "\x1b" not in out + err


def test_fit_metrics_are_those_of_the_definition(data: str) -> None:
    table = read_dataset(data, "y")
    training, test = _study.split(table, 0.25, seed=3)
    assert test is not None
    assert (training.y.size, test.y.size) == (45, 15)
    assert sorted([*training.y, *test.y]) == sorted(table.y)
    held_out = _study.study(training, test, callback=lambda _: None).held_out
    model = fit(training.X, training.y)
    mean, std = model.predict(test.X, return_std=True, include_noise=True)
    density = np.exp(-((test.y - mean) ** 2) / (2 * std**2)) / (std * math.sqrt(2 * math.pi))
    assert held_out is not None
    assert held_out.rmse == pytest.approx(math.sqrt(np.mean((test.y - mean) ** 2)), rel=1e-8)
    assert held_out.rmse_of_mean == pytest.approx(math.sqrt(np.mean((test.y - training.y.mean()) ** 2)), rel=1e-12)
    assert held_out.mean_log_predictive_density == pytest.approx(np.mean(np.log(density)), rel=1e-8)


def test_fit_writes_json(data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.json"
    options = ["--kernel", "rational_quadratic", "--restarts", "1", "--seed", "2", "--threads", "1", "--json", str(path)]
    assert main(["fit", data, "--target", "y", *options]) == 0

    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is not JSON")

    found = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    assert found["feature_names"] == ["wave", "slope", "idle"]
    assert found["features_by_relevance"][0] == "wave"
    assert found["kernel"] == "rational_quadratic"
    assert len(found["shape"]) == 1
    assert found["held_out"]["n"] == 6
    assert found["versions"]["fastard"] == fastard.__version__

    training, _ = _study.split(read_dataset(data, "y"), 0.1, seed=2)
    value = fastard.log_marginal_likelihood(
        training.X,
        training.y - found["target_mean"],
        length_scale=found["length_scale"],
        signal_variance=found["signal_variance"],
        noise_variance=found["noise_variance"],
        kernel=fastard.RationalQuadratic(*found["shape"]),
    )
    assert value == pytest.approx(found["log_marginal_likelihood"], rel=1e-9)
    assert "shape" in capsys.readouterr().out


@pytest.mark.parametrize(("mean", "estimation"), [("linear", "reml"), ("quadratic", "ml"), ("zero", None)])
def test_fit_with_a_mean(
    data: str, tmp_path: Path, mean: str, estimation: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(tmp_path / name) for name in ("model.npz", "model.json")]
    options = ["--mean", mean, "--save", files[0], "--json", files[1], "--test-fraction", "0"]
    options += ["--mean-estimation", estimation] if estimation else []
    assert main(["fit", data, "--target", "y", *options]) == 0
    out = capsys.readouterr().out
    own: dict[str, Any] = {"mean_estimation": estimation} if estimation else {}
    model = fit(_numbers()[:, :3], _numbers()[:, 3], mean=mean, **own)
    new = tmp_path / "new.csv"
    new.write_text("slope,idle,wave\n0.5,0,3.0\n")
    assert main(["predict", files[0], str(new), "--function"]) == 0
    *_, row = csv.reader(capsys.readouterr().out.splitlines())
    expected = np.ravel(model.predict([[3.0, 0.5, 0.0]], return_std=True))
    np.testing.assert_allclose(np.array(row[3:5], dtype=float), expected, rtol=1e-10)
    written = json.loads(Path(files[1]).read_text(encoding="utf-8"))["mean"]
    assert written["kind"] == mean
    if estimation is None:
        assert "Coefficients" not in out
        return
    found = model.mean_coefficients()
    assert written["estimation"] == estimation
    assert written["basis"][:4] == ["1", "wave", "slope", "idle"]
    np.testing.assert_allclose(written["coefficients"], found.coefficients, rtol=1e-10)
    np.testing.assert_allclose(written["standard_errors"], found.standard_errors, rtol=1e-10)
    shown = next(line.split() for line in out.partition("Coefficients of the mean")[2].splitlines() if "slope" in line)
    assert shown == ["slope", f"{found.coefficients[2]:.4g}", f"{found.standard_errors[2]:.2g}"]


def test_of_many_coefficients_the_first_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = np.random.default_rng(0).standard_normal((60, 8))
    path = tmp_path / "data.csv"
    np.savetxt(path, table, delimiter=",", header="a,b,c,d,e,f,g,y", comments="")
    assert main(["fit", str(path), "--target", "y", "--mean", "quadratic"]) == 0
    shown = capsys.readouterr().out.partition("Coefficients of the mean")[2].partition("\n\n")[0].splitlines()
    assert len(shown) == 1 + 2 + 30 + 1
    assert shown[-1].strip() == "and 6 more, which --json has"


def test_a_mean_that_the_rows_do_not_determine_is_told_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "data.csv"
    path.write_text("a,half,y\n" + "".join(f"{i},{i / 2},{i * i}\n" for i in range(9)))
    assert main(["fit", str(path), "--target", "y", "--mean", "linear"]) == 2
    assert "depend linearly on the others" in (error := capsys.readouterr().err)
    assert ": half; leave" in error or ": a; leave" in error


# --- fit: which columns and rows ---------------------------------------------------------------------------------

MESSY = """day,colour,temp,"p, bar",remark,y
1.5.2024,red,1.0,2.0,fine,3
2.5.2024,blue,2.0,,bad,4
3.5.2024,red,3.0,2.5,,5.5
4.5.2024,blue,4.0,2.2,odd,6
5.5.2024,red,NA,2.0,x,7
6.5.2024,red,4.4,2.9,y,6.1
"""


@pytest.fixture
def messy(tmp_path: Path) -> str:
    path = tmp_path / "messy.csv"
    path.write_text(MESSY)
    return str(path)


def test_one_message_names_all_columns_that_are_no_numbers(messy: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", messy, "--target", "y"]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    for part in (
        "4 columns",
        "'day' holds dates or times ('1.5.2024' in line 2)",
        "'temp' lacks 1 of 6 values (the first in line 6)",
        "'p, bar' lacks 1 of 6 values (the first in line 3)",
        "'remark' holds text ('fine' in line 2) and lacks 1",
        "write dates as 2024-05-31",
        "--ignore day,remark;",
        "--drop-missing",
    ):
        assert part in error
    assert main(["fit", messy, "--target", "y", "--inputs", "4", "--inputs", "temp"]) == 2
    assert "--ignore" not in capsys.readouterr().err
    assert main(["fit", messy, "--target", "colour", "--inputs", "temp"]) == 2
    error = capsys.readouterr().err
    assert "'colour' holds" in error
    assert "--ignore" not in error  # it is the target


def test_inputs_and_rows_are_chosen(messy: str) -> None:
    both = read_dataset(messy, "y", inputs=["p, bar", "temp"], drop_missing=True)
    assert both.input_names == ["temp", "p, bar"]
    np.testing.assert_array_equal(both.X, [[1.0, 2.0], [3.0, 2.5], [4.0, 2.2], [4.4, 2.9]])
    np.testing.assert_array_equal(both.y, [3.0, 5.5, 6.0, 6.1])
    assert "2 of 6 rows are left out, which lack a value (of 'temp', 'p, bar')" in both.notes
    same = read_dataset(messy, "y", ignore=["day,colour", "5"], drop_missing=True)
    np.testing.assert_array_equal(same.X, both.X)
    temp = read_dataset(messy, "y", inputs=["temp"], drop_missing=True)
    np.testing.assert_array_equal(temp.X[:, 0], [1.0, 2.0, 3.0, 4.0, 4.4])  # others may lack what they will


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": ["temp,y"]}, "--inputs names 'y', which is the target"),
        ({"ignore": ["-1"]}, "--ignore names 'y', which is the target"),
        ({"inputs": ["temp"], "ignore": ["3"]}, "leaves no inputs"),
        ({"inputs": ["tmp"]}, "no column 'tmp'; did you mean 'temp'?"),
    ],
)
def test_columns_that_cannot_be_chosen(messy: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(TableError, match=re.escape(message)):
        read_dataset(messy, "y", drop_missing=True, **options)


def test_no_complete_row_is_told_with_the_emptiest_column(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("a,b,y\n1,,2\n,,3\n")
    with pytest.raises(TableError, match="no row is complete; column 'b' lacks 2 of 2"):
        read_dataset(str(path), "y", drop_missing=True)


def test_infinity_is_not_missing(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("a,y\n1,2\ninf,3\n,4\n")
    with pytest.raises(TableError, match="line 3, column 'a': 'inf' is not finite"):
        read_dataset(str(path), "y", drop_missing=True)


def test_without_a_target_the_columns_are_listed(messy: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", messy]) == 2
    out, err = capsys.readouterr()
    rows = [re.split(r"\s{2,}", line.strip()) for line in out.splitlines()[3:9]]
    assert [row[:2] for row in rows] == [[str(i), name] for i, name in enumerate(
        ["day", "colour", "temp", "p, bar", "remark", "y"], 1
    )]  # fmt: skip
    assert rows[0][2].endswith("in line 2)")  # in another form than dates are read in
    assert rows[1][2] == "2 categories (red, blue)"
    assert rows[2][2] == "numbers, 1 to 4.4; lacks 1 of 6 values (the first in line 6)"
    assert "--target" in err


@pytest.mark.parametrize("dates", [("5 Jan 2024", "7 Feb 2024"), ("2024-01", "2024-02")])
def test_dates_in_another_form_are_no_categories(
    dates: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "data.csv"
    path.write_text("day,a,y\n" + "".join(f"{dates[i % 2]},{i},{i * i}\n" for i in range(8)))
    assert main(["fit", str(path), "--target", "y"]) == 2
    assert f"column 'day': '{dates[0]}' is not a number; write dates as 2024-05-31" in capsys.readouterr().err


def test_dates_are_listed_as_what_they_are_taken_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, _ = _mixed(tmp_path / "data.csv")
    assert main(["fit", path]) == 2
    assert "dates or times ('2024-01-01' in line 2), taken as days" in capsys.readouterr().out


def _mixed(path: Path, n: int = 60) -> tuple[str, Any]:
    """A file with a date, text, an angle and numbered machines; and its X as fit takes it."""
    pandas = pytest.importorskip("pandas")
    random = np.random.default_rng(0)
    frame = pandas.DataFrame(
        {
            "day": pandas.date_range("2024-01-01", periods=n).strftime("%Y-%m-%d"),
            "material": random.choice(["steel", "wood", "sheet glass"], n),
            "wind": random.uniform(0.0, 360.0, n).round(1),
            "machine": random.integers(1, 4, n),
        }
    )
    y = np.cos(np.deg2rad(frame.wind)) + 0.3 * frame.machine + frame.material.map(len) + 0.01 * np.arange(n)
    frame.assign(y=y + 0.1 * random.standard_normal(n)).to_csv(path, index=False)
    frame["day"] = np.arange(n) + 19723.0
    return str(path), frame


_KINDS = ["--categorical", "machine", "--periodic", "wind=360"]


def test_categories_dates_and_angles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, X = _mixed(tmp_path / "data.csv")
    y = np.loadtxt(path, delimiter=",", skiprows=1, usecols=4)
    model_path, json_path, new = (str(tmp_path / name) for name in ("model.npz", "model.json", "new.csv"))
    options = ["--target", "y", *_KINDS, "--test-fraction", "0", "--save", model_path, "--json", json_path]
    assert main(["fit", path, *options]) == 0
    out, err = capsys.readouterr()
    assert "60 rows, 4 inputs" in out
    for name, what in (
        ("dates", "day (days since 1970-01-01)"),
        ("periodic", "wind (length scale in radii of the circle)"),
        ("categorical", "material, machine (length scale where levels are √2 apart)"),
    ):
        assert re.search(rf"^  {name} +{re.escape(what)}$", out, re.MULTILINE), name
    assert "text is taken for categories: 'material' (3)" in err
    assert "dates are taken as days since 1970-01-01: 'day'" in err
    written = json.loads(Path(json_path).read_text(encoding="utf-8"))
    assert written["categorical"] == {"material": ["sheet glass", "steel", "wood"], "machine": [1, 2, 3]}
    assert written["periodic"] == {"wind": 360.0}
    assert written["dates"] == {"day": "days since 1970-01-01"}
    model = fit(X, y, categorical=["machine"], periodic={"wind": 360.0})
    np.testing.assert_allclose(written["length_scale"], model.length_scale, rtol=1e-10)

    Path(new).write_text(
        "machine,wind,material,day\n2.0,370,sheet  glass,2024-01-05\n1,-5,wood,2024-02-29\n3,9,steel,2025-03-01\n"
    )
    assert main(["predict", model_path, new]) == 0
    out, err = capsys.readouterr()
    assert "1 of 3 rows lie outside" in err
    assert "farthest is line 4, by 6.2 times the width of the range of 'day'" in err
    points = X[:3].assign(
        machine=[2, 1, 3], wind=[370.0, -5.0, 9.0], material=["sheet glass", "wood", "steel"], day=[19727.0, 19782.0, 20148.0]
    )
    mean, std = model.predict(points, return_std=True, include_noise=True)
    _, *rows = csv.reader(out.splitlines())
    np.testing.assert_allclose(np.array([row[4:6] for row in rows], dtype=float), np.column_stack([mean, std]), rtol=1e-8)


@pytest.mark.parametrize(
    ("cells", "options", "message"),
    [
        (
            "4,9,wood,2024-01-05",
            [],
            "line 3, column 'machine': '4' is a category that the model was not trained with; it knows",
        ),
        (
            "1,9,Wood,2024-01-05",
            [],
            "'Wood' is a category that the model was not trained with; it knows 'sheet glass', 'steel'",
        ),
        (",9,wood,2024-01-05", [], "line 3, column 'machine': the cell is empty"),
        ("1,9,wood,1.5.2024", [], "column 'day': '1.5.2024' is not a number; write dates as 2024-05-31"),
        (",9,wood,2024-01-05", ["--drop-missing"], "1 of 2 rows are left out"),
    ],
)
def test_predict_refuses_categories_of_no_training(
    tmp_path: Path, cells: str, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = _mixed(tmp_path / "data.csv")
    model_path, new = str(tmp_path / "model.npz"), tmp_path / "new.csv"
    assert main(["fit", path, "--target", "y", *_KINDS, "--save", model_path]) == 0
    new.write_text(f"machine,wind,material,day\n1,9,wood,2024-01-05\n{cells}\n")
    assert main(["predict", model_path, str(new), *options]) == (0 if options else 2)
    assert message in capsys.readouterr().err


def test_a_mean_beside_categories_and_periods(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, _ = _mixed(tmp_path / "data.csv")
    files = {name: str(tmp_path / name) for name in ("model.npz", "model.json", "report.html")}
    options = [*_KINDS, "--mean", "linear", "--save", files["model.npz"], "--json", files["model.json"]]
    assert main(["fit", path, "--target", "y", *options, "--report", files["report.html"]]) == 0
    names = fastard.load(files["model.npz"]).mean_coefficients().names
    assert {"material=steel", "machine=2", "sin(2 pi wind/360)", "cos(2 pi wind/360)"} <= set(names)
    assert json.loads(Path(files["model.json"]).read_text(encoding="utf-8"))["mean"]["basis"] == names
    shown = capsys.readouterr().out.partition("Coefficients of the mean")[2]
    assert all(name in shown for name in names)
    assert "sin(2 pi wind/360)" in Path(files["report.html"]).read_text(encoding="utf-8")
    new = tmp_path / "new.csv"
    new.write_text("machine,wind,material,day\n1,9,wood,2024-01-05\n")
    assert main(["predict", files["model.npz"], str(new)]) == 0


def test_what_is_for_numbers_alone_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, _ = _mixed(tmp_path / "data.csv")
    assert main(["fit", path, "--target", "y", "--periodic", "wind=360", "--vecchia"]) == 2
    assert "these hold categories or are periodic: 'material', 'wind'" in capsys.readouterr().err


def test_no_level_is_held_out_altogether(tmp_path: Path) -> None:
    """Of a level that training had not, nothing can be predicted."""
    path = tmp_path / "data.csv"
    path.write_text("colour,y\n" + "".join(f"c{i % 10},{i}\n" for i in range(20)))
    data = read_dataset(str(path), "y")
    for seed in range(5):
        training, test = _study.split(data, 0.7, seed)
        assert set(training.X[:, 0]) == {f"c{i}" for i in range(10)}
        assert test is not None
        assert sorted([*training.y, *test.y]) == list(range(20))
    with pytest.raises(TableError, match="a category of its own"):
        _study.split(read_dataset(str(path), "y", categorical=["colour"]).rows(np.arange(10)), 0.5, 0)


# --- predict -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vecchia", [False, True])
def test_predict_finds_columns_by_name(data: str, tmp_path: Path, vecchia: bool, capsys: pytest.CaptureFixture[str]) -> None:
    model_path, out_path, new = (str(tmp_path / name) for name in ("model.npz", "out.csv", "new.csv"))
    options = ["--vecchia"] if vecchia else []
    assert main(["fit", data, "--target", "y", "--save", model_path, *options]) == 0
    Path(new).write_text('slope,name,idle,wave\n0.5,"a, b",0,0.1\n-0.5,c,9,0.2\n')
    capsys.readouterr()
    assert main(["predict", model_path, new, "-o", out_path]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[0].startswith(
        "fastard: 1 of 2 rows lie outside the range of the training data; farthest is line 3"
    )
    assert "'idle'" in err
    assert err.splitlines()[-1] == f"fastard: wrote {out_path}"
    with open(out_path, encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["slope", "name", "idle", "wave", "y mean", "y std", "y lower", "y upper", "outside range"]
    assert [row[:4] for row in rows] == [["0.5", "a, b", "0", "0.1"], ["-0.5", "c", "9", "0.2"]]
    model = fastard.load(model_path)
    X = np.array([[0.1, 0.5, 0.0], [0.2, -0.5, 9.0]])
    mean, std = model.predict(X, return_std=True, include_noise=True)
    found = np.array([row[4:] for row in rows], dtype=float)
    np.testing.assert_array_equal(found[:, 0], mean)
    np.testing.assert_array_equal(found[:, 1], std)
    np.testing.assert_allclose((found[:, 3] - found[:, 2]) / (2.0 * std), 1.96, rtol=1e-4)
    idle = model._X[:, 2]
    assert found[:, 4] == pytest.approx([0.0, (9.0 - idle.max()) / (idle.max() - idle.min())], rel=1e-3)
    assert main(["predict", model_path, new, "--function"]) == 0
    _, *rows = csv.reader(capsys.readouterr().out.splitlines())
    np.testing.assert_array_equal([float(row[5]) for row in rows], model.predict(X, return_std=True)[1])


def test_predict_refuses_what_does_not_go_with_the_model(
    data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model_path, new = str(tmp_path / "model.npz"), tmp_path / "new.csv"
    assert main(["fit", data, "--target", "y", "--save", model_path]) == 0

    def error(text: str, *options: str, status: int = 2) -> str:
        new.write_text(text)
        capsys.readouterr()
        assert main(["predict", model_path, str(new), *options]) == status
        return capsys.readouterr().err.splitlines()[-1]

    assert "no column 'slope', 'idle', which the model was trained on" in error("wave,slop\n1,2\n")
    assert "several columns are named 'wave'" in error("wave,slope,idle,wave\n1,2,3,4\n")
    assert "2 columns without names, where the model has 3" in error("1.5,2.5\n1,2\n")
    assert "line 2, column 'idle': the cell is empty" in error("wave,slope,idle\n1,2,\n1,2,3\n")
    assert "--ignore" not in error("wave,slope,idle\n1,2,red\n1,2,3\n")
    assert "1 of 2 rows are left out" in "".join(error("wave,slope,idle,z\n1,2,,\n.1,.2,.3,\n", "--drop-missing", status=0))
    assert "taken in order for the model's inputs, wave, slope, idle" in error(".1,.2,.3\n.1,.2,.4\n", status=0)
    assert "is the model; give another name" in error("wave,slope,idle\n1,2,3\n", "-o", model_path)
    assert "is the data; give another name" in error("wave,slope,idle\n1,2,3\n", "-o", str(new))
    assert main(["predict", str(new), str(new)]) == 2
    assert "is not a model that fastard saved" in capsys.readouterr().err
    assert main(["predict", str(tmp_path / "none.npz"), str(new)]) == 1


def test_predict_of_several_targets_and_known_variances(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    X, y = _numbers()[:, :3], _numbers()[:, 3:]
    model = fit(X, np.hstack([y, -y]), observation_variance=np.ones(N), max_iterations=3)
    model.save(tmp_path / "model.npz")
    (tmp_path / "new.csv").write_text("a,b,c\n.1,.2,.3\n.1,.2,.4\n")
    assert main(["predict", str(tmp_path / "model.npz"), str(tmp_path / "new.csv")]) == 0
    out, err = capsys.readouterr()
    (header, *rows) = csv.reader(out.splitlines())
    assert header[3:] == [f"y{t} {what}" for t in (0, 1) for what in ("mean", "std", "lower", "upper")] + ["outside range"]
    assert float(rows[0][3]) == pytest.approx(-float(rows[0][7]))
    assert "taken to have none beside the noise" in err
    assert "taken in order" in err


def test_a_terminal_obeys_no_cell(data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model_path, new = str(tmp_path / "model.npz"), tmp_path / "new.csv"
    assert main(["fit", data, "--target", "y", "--save", model_path]) == 0
    new.write_text("wave,slope,idle,name\n.1,.2,.3,\x1b[31m\n")
    with _terminal(monkeypatch) as (out, _):
        assert main(["predict", model_path, str(new)]) == 0
    assert "\\x1b[31m" in out.getvalue()
    assert "\x1b" not in out.getvalue()


# --- fit: many rows ----------------------------------------------------------------------------------------------


def test_vecchia_says_what_it_loses(data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of few rows: nothing."""
    files = [str(tmp_path / name) for name in ("model.npz", "model.json")]
    options = ["--vecchia", "--neighbors", "20", "--save", files[0], "--json", files[1]]
    assert main(["fit", data, "--target", "y", *options]) == 0
    out, err = capsys.readouterr()
    assert "54 rows, 3 inputs, kernel matern52" in out
    assert "0 ± 0 nats per point are lost" in out
    assert "with these, no parameter is known to move" in out
    assert "held out, 54 points from 53 neighbours each" in out
    assert " of training, with any compilation" in out
    assert "exact fit of 54 points" in err
    assert err.splitlines()[-2:] == [f"fastard: wrote {path}" for path in files]
    model = fastard.load(files[0])
    assert isinstance(model, fastard.VecchiaGaussianProcess)
    assert (model.feature_names, model.target_names, model.neighbors) == (["wave", "slope", "idle"], ["y"], 20)
    found = json.loads(Path(files[1]).read_text(encoding="utf-8"))
    assert found["vecchia_log_likelihood"] == model.log_likelihood
    assert found["accuracy"]["nats_lost_per_row"] == [0.0, 0.0]
    assert "log_marginal_likelihood" not in found


def test_what_training_needs_is_compiled_before_the_clock_starts(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Any] = []
    monkeypatch.setattr(_study, "compile_training", lambda kernel, **options: compiled.append((kernel, options)))
    options = {"kernel": "matern32", "mean": "linear", "mean_estimation": "reml"}
    _study.study(read_dataset(data, "y"), None, callback=lambda _: None, **options)
    assert [{"kernel": kernel, **given} for kernel, given in compiled] == [options]


def test_parameters_that_would_move_far_are_noted() -> None:
    few, nothing = np.zeros(2), fastard.HeldOut(3, (1, 2), np.ones(2), np.ones(2), np.ones(2))
    for shift, count in ((0.5, 0), (3.0, 1)):
        moved = np.array([[0.0, math.nan], [-shift, math.nan]])
        accuracy = fastard.Accuracy((4, 16), few, few, few, few, ["a", "b"], moved, moved, nothing)
        rows = _report._approximation(accuracy)
        assert [name for name, _ in rows] == ["approximation", "", ""]
        assert rows[1][1].count("more neighbors") == count


def test_what_does_not_fit_the_memory_is_told_before_training(
    data: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_study, "memory", lambda: 8 * 54**2 - 1)
    assert main(["fit", data, "--target", "y"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("fastard fit: error: exact training on 54 rows needs 2.17e-05 GiB of memory, where")
    assert "--vecchia" in error
    assert main(["fit", data, "--target", "y", "--vecchia"]) == 0
    monkeypatch.setattr(_study, "memory", lambda: 8 * 54**2)
    assert main(["fit", data, "--target", "y"]) == 0


def test_what_takes_long_is_told_before_training(capsys: pytest.CaptureFixture[str]) -> None:
    for seconds, told in ((59.0, False), (61.0, True)):
        _progress.TrainingProgress(prints=False, advice="take --vecchia").announce(30_000, 4, seconds)
        assert ("fastard: take --vecchia" in capsys.readouterr().err) == told
    _progress.TrainingProgress(prints=False).announce(30_000, 4, 61.0)
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--neighbors", "9"], "--neighbors is of --vecchia"),
        (["--vecchia", "--restarts", "1"], "restarts"),
        (["--vecchia", "--mean", "linear"], "leave --mean out"),
        (["--mean-estimation", "reml"], "--mean-estimation is of --mean linear and --mean quadratic"),
    ],
)
def test_options_that_do_not_go_together(
    data: str, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", data, "--target", "y", *options]) == 2
    assert message in capsys.readouterr().err


def test_progress_says_which_search_and_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(_progress.time, "perf_counter", lambda: now[0])
    so_far = _progress.TrainingProgress(prints=False)
    so_far.searching(1, 3)
    so_far(TrainingState(1, -5.0, -5.0, np.ones(3), {}))
    assert str(so_far).startswith("search 1 of 3   evaluation 1 ")
    now[0] = 10.0
    so_far.searching(2, 3)
    assert "search 2 of 3, about 20 s left   " in str(so_far)
    now[0] = 16.0
    assert "about 14 s left" in str(so_far)
    now[0] = 40.0  # longer than the first took
    assert "about 10 s left" in str(so_far)
    so_far.searching(3, 3)
    now[0] = 90.0
    assert "search 3 of 3   " in str(so_far)
    one = _progress.TrainingProgress(prints=False)
    one.searching(1, 1)
    one(TrainingState(1, -5.0, -5.0, np.ones(3), {}))
    assert str(one).startswith("evaluation 1 ")


def test_fit_tells_its_searches(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(_progress.TrainingProgress, "searching", lambda _, *which: told.append(which))
    X = np.linspace(0.0, 1.0, 20)[:, np.newaxis]
    fit(X, np.sin(9.0 * X), n_restarts=2, rng=0, max_iterations=2, progress=True)
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_json_has_null_for_what_is_not_finite() -> None:
    assert _export._finite({"a": [math.inf, 1.0], "b": {"c": math.nan}}) == {"a": [None, 1.0], "b": {"c": None}}


def test_fit_draws_a_chart_without_a_display(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = _csv(tmp_path / "data.csv", f"wave,slope_{{$,{'idle' * 20},$y^")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    assert main(["fit", data, "--target", "$y^", "--plot", str(tmp_path / "relevance.png")]) == 0
    assert (tmp_path / "relevance.png").read_bytes().startswith(b"\x89PNG")
    assert main(["fit", data, "--target", "$y^", "--plot", str(tmp_path / "relevance.svg")]) == 0
    drawn = (tmp_path / "relevance.svg").read_text(encoding="utf-8")
    for text in ("wave", "slope_{$", "input", "inputs of $y^, length scales beside their bars"):
        assert f"<!-- {text} -->" in drawn
    assert "relevance, ± 2 standard errors" in drawn
    assert "matplotlib.pyplot" not in sys.modules


class _Page(html.parser.HTMLParser):
    """Tags that are opened and closed in order, the texts, and what pictures are."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.pictures: list[tuple[str, bytes]] = []
        self.text = ""
        self.feed(document)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img"):
            self.open.append(tag)
        for name, value in attrs:
            assert name in ("lang", "charset", "name", "content", "class", "alt", "src"), f"{name} may ask a network"
            if name == "src" and value is not None:
                kind, data = value.split(";base64,")
                self.pictures.append((kind, base64.b64decode(data, validate=True)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("options", [[], ["--mean", "linear", "--save", "m.npz"], ["--test-fraction", "0"], ["--vecchia"]])
def test_a_report_is_one_page(tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    data = _csv(tmp_path / "data.csv", header='<script>wave,"sl & pe",idle,y</title>')
    options = [str(tmp_path / option) if option.endswith(".npz") else option for option in options]
    path = tmp_path / "report.html"
    assert main(["fit", data, "--target", "y</title>", "--report", str(path), *options]) == 0
    out, err = capsys.readouterr()
    assert f"wrote {path}" in err
    document = path.read_text(encoding="utf-8")
    assert not re.search(r"https?:|url\(|@import|<script|<link", document)
    page = _Page(document)
    for line in out.splitlines():  # all that was printed, but for bars, rules and titles
        for cell in re.split(r"\s{2,}", line.strip(" █")) if line.startswith("  ") else []:
            assert cell in page.text or set(cell) == {"-"}, cell
    for kind, content in page.pictures:
        assert kind == "data:image/svg+xml"
        assert b"</svg>" in content
    pictures = "".join(content.decode() for _, content in page.pictures)
    exact, held_out = "--vecchia" not in options, "--test-fraction" not in options
    assert len(page.pictures) == 1 + 2 * exact + held_out + 2
    assert ("Shares of the variance" in page.text) == exact
    assert "not how much of the variance" in page.text
    assert ("relevance beyond the mean" in pictures) == ("linear" in options)
    assert ("Leave-one-out: " in page.text) == exact
    assert ("Held out: 6 rows" in page.text) == held_out
    assert ("Coefficients of the mean" in page.text) == ("linear" in options)
    assert ("The model was not saved" in page.text) == ("--save" not in options)
    for version in (fastard.__version__, np.__version__):
        assert version in page.text


@pytest.mark.parametrize("cells", [("2024-01-05", "2024/01/06 12:00"), ("2024-01-05T01:00Z", "2024-01-06 13:00+01:00")])
def test_a_report_says_how_dates_became_numbers(
    tmp_path: Path, cells: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lines of Python predict a table with dates as the command line does."""
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("matplotlib")
    path, _ = _mixed(tmp_path / "data.csv")
    monkeypatch.chdir(tmp_path)
    saved, report, new, out = "m.npz", "report.html", "new.csv", "out.csv"
    assert main(["fit", path, "--target", "y", "--test-fraction", "0", "--save", saved, "--report", report]) == 0
    rows = "\n".join(f"{cell},steel,{wind},1,7" for cell, wind in zip(cells, (10.0, 20.0), strict=True))
    Path(new).write_text(f"day,material,wind,machine,besides\n{rows}\n")
    assert main(["predict", saved, new, "-o", out]) == 0
    names = _pasted(Path(report))
    predicted = pandas.read_csv(out)
    np.testing.assert_allclose(names["mean"], predicted["y mean"], rtol=1e-12)
    np.testing.assert_allclose(names["std"], predicted["y std"], rtol=1e-12)


def _pasted(report: Path) -> dict[str, Any]:
    """What the report's lines of Python leave where they are pasted into an interpreter, as they stand."""
    lines = _Page(report.read_text(encoding="utf-8")).text.partition("From Python:")[2].partition("How it was made")[0]
    console = code.InteractiveConsole()
    for line in lines.strip().splitlines():
        console.push(line)
    return console.locals


def test_a_report_without_dates_has_lines_of_python_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    data = _csv(Path("new.csv"))
    assert main(["fit", data, "--target", "y", "--report", "report.html", "--save", "m.npz"]) == 0
    expected = fastard.load("m.npz").predict(_numbers()[:, :3])
    np.testing.assert_allclose(_pasted(Path("report.html"))["mean"], expected, rtol=1e-12)


def test_a_report_warns_of_a_search_that_has_not_converged(data: str) -> None:
    pytest.importorskip("matplotlib")
    result = _study.study(read_dataset(data, "y"), None, callback=lambda state: state.evaluation == 3)
    document = _Page(_page.page(result, "data.csv", None))
    assert "The search had not converged, and the numbers are provisional: stopped by the callback." in document.text


def test_a_report_has_shares_of_the_variance(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An input with a small relevance may have most of the variance; where the numbers take long they are left out."""
    pytest.importorskip("matplotlib")
    result = _study.study(read_dataset(data, "y"), None, callback=lambda _: None)
    assert result.shares is not None
    page = _Page(_page.page(result, "data.csv", None))
    rows = page.text.partition("alonein all")[2].splitlines()
    expected = result.model.sobol(n_samples=0)
    for row, i in zip(rows[1:], np.argsort(-expected.total), strict=False):
        assert row.startswith(f"{expected.names[i]}{expected.first_order[i]:.2f}{expected.total[i]:.2f}")
    monkeypatch.setattr(_study, "_MOST_WORK", 60 * 60 * 3 - 1)
    result = _study.study(read_dataset(data, "y"), None, callback=lambda _: None)
    assert result.shares is result.effects is None
    assert "Shares of the variance" not in _Page(_page.page(result, "data.csv", None)).text


def test_a_report_of_many_points_has_pixels(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(_page, "_MOST_DRAWN", 50)
    result = _study.study(read_dataset(data, "y"), None, callback=lambda _: None)
    pictures = _Page(_page.page(result, "data.csv", None)).pictures
    assert [kind for kind, _ in pictures] == [f"data:image/{kind}" for kind in ("svg+xml", "svg+xml", "png", "png", "svg+xml")]
    assert pictures[2][1].startswith(b"\x89PNG")


def test_fit_without_held_out_rows(data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.json"
    assert main(["fit", data, "--target", "y", "--test-fraction", "0", "--json", str(path)]) == 0
    out = capsys.readouterr().out
    assert f"{N} rows" in out
    assert "held-out" not in out
    assert json.loads(path.read_text(encoding="utf-8"))["held_out"] is None


# --- fit: which column ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["4", "-1"])
@pytest.mark.parametrize("header", [None, "wave,slope,idle,y"])
def test_a_number_names_a_column(tmp_path: Path, header: str | None, target: str) -> None:
    table = read_dataset(_csv(tmp_path / "data.csv", header), target)
    np.testing.assert_array_equal(np.column_stack([table.X, table.y]), _numbers())
    assert table.input_names == (["wave", "slope", "idle"] if header else ["column 1", "column 2", "column 3"])


def test_a_name_that_exists_goes_before_the_number(tmp_path: Path) -> None:
    table = read_dataset(_csv(tmp_path / "data.csv", "4,3,2,1"), "4")  # all numbers: no header, so the last column
    assert table.y[0] == 1.0
    table = read_dataset(_csv(tmp_path / "data.csv", "4,3,2,x"), "4")
    assert table.target_name == "4"
    np.testing.assert_array_equal(table.y, _numbers()[:, 0])


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_reads_what_spreadsheets_write(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "data.csv"
    lines = [delimiter.join(['"a  b"', "ß", "y"]), "", delimiter.join(["1", " 2.5 ", "-3e2"]), delimiter.join("456"), ""]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    table = read_dataset(str(path), "y")
    assert table.input_names == ["a b", "ß"]
    np.testing.assert_array_equal(table.X, [[1.0, 2.5], [4.0, 5.0]])
    np.testing.assert_array_equal(table.y, [-300.0, 6.0])


# --- fit: refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "target", "parts"),
    [
        (None, "y", ["data.csv", "No such file"]),
        (b"", "y", ["is empty"]),
        (b"\x81\xff", "y", ["UTF-8"]),
        (b"a,y\n", "y", ["no rows below the header"]),
        (b"y\n1\n2\n", "y", ["no inputs"]),
        (b"x1,Yield\n1,2\n", "yeild", ["no column 'yeild'", "did you mean 'Yield'?"]),
        (b"x1,x2\n1,2\n", "strength", ["no column 'strength'", "its columns are x1, x2"]),
        (b"1,2\n3,4\n", "y", ["no column 'y'", "no header", "1 to 2"]),
        (b"a,y\n1,2\n", "0", ["no column 0", "1 to 2", "-1 to -2"]),
        (b"a,y\n1,2\n", "-3", ["no column -3"]),
        (b"a,y,y\n1,2,3\n", "y", ["2 columns are named 'y' (2, 3)"]),
        (b"a,y\n1,2\nred,4\n", "y", ["line 3", "column 'a'", "'red' is not a number"]),
        (b"1,2\n1_000,4\n", "2", ["line 2", "column 'column 1'", "'1_000' is not a number"]),
        (b"a,y\n1,2\n\n,4\n", "y", ["line 4", "column 'a'", "empty"]),
        (b"a,y\n1,2\n3,NA\n", "y", ["line 3", "column 'y'", "missing value"]),
        (b"a,y\n1,2\n3,inf\n", "y", ["line 3", "column 'y'", "not finite"]),
        (b"a,y\n1,2\n3\n", "y", ["line 3", "1 cells", "has 2"]),
        (b'a,y\n1,"2"3\n', "y", ["line 2"]),
        (b"a,y\n1,2\n3,4\n", "y", ["too few rows", "2 in all with 1 held out"]),
    ],
)
def test_fit_refuses_a_bad_file_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, target: str, parts: list[str]
) -> None:
    path = tmp_path / "data.csv"
    if content is not None:
        path.write_bytes(content)
    assert main(["fit", str(path), f"--target={target}"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("fastard fit: error: ")
    assert err.count("\n") == 1
    for part in parts:
        assert part in err


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--target", "y", "--test-fraction", "1"], "--test-fraction: must be at least 0 and less than 1"),
        (["--target", "y", "--header", "--no-header"], "--no-header: not allowed with argument --header"),
        (["--target", "y", "--test-fraction", "nan"], "--test-fraction"),
        (["--target", "y", "--restarts", "-1"], "--restarts: must be a whole number >= 0, got '-1'"),
        (["--target", "y", "--threads", "0"], "--threads: must be a whole number >= 1, got '0'"),
        (["--target", "y", "--kernel", "matern"], "matern52"),
    ],
)
def test_fit_refuses_bad_options_in_one_line(
    data: str, capsys: pytest.CaptureFixture[str], options: list[str], part: str
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["fit", data, *options])
    err = capsys.readouterr().err
    assert exit_.value.code == 2
    assert part in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--json", "nowhere/model.json"], "no folder nowhere"),
        (["--json", "."], "is a folder"),
        (["--plot", "chart.xyz"], "must end in one of"),
        (["--report", "nowhere/report.html"], "no folder nowhere"),
    ],
)
def test_fit_refuses_where_it_can_not_write_before_it_trains(
    data: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    part: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["fit", data, "--target", "y", *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert part in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("option", ["--plot", "--report"])
def test_a_chart_without_matplotlib_says_how_to_get_it(
    data: str, option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"] or ["matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["fit", data, "--target", "y", option, "chart.png"]) == 2
    assert f"{option} needs matplotlib: pip install 'fastard[cli]'" in capsys.readouterr().err


def _raise_at(evaluation: int) -> Callable[[], Any]:
    """A progress display whose callback is interrupted, as by Ctrl-C."""

    @contextlib.contextmanager
    def progress(_: str = "") -> Iterator[Callable[[Any], None]]:
        def callback(state: Any) -> None:
            if state.evaluation == evaluation:
                raise KeyboardInterrupt

        yield callback

    return progress


def test_ctrl_c_reports_the_best_so_far(
    data: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_progress, "progress", _raise_at(3))
    assert main(["fit", data, "--target", "y"]) == 0
    out = capsys.readouterr().out
    assert "not converged: interrupted" in out
    assert re.search("^  evaluations +3$", out, re.MULTILINE)


@pytest.mark.parametrize(
    ("failure", "status", "part"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (fastard.NotPositiveDefiniteError(7), 1, "row 7"),
        (MemoryError("needs 9 GiB"), 1, "needs 9 GiB"),
    ],
)
def test_what_ends_training_is_told_in_one_line(
    data: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    failure: BaseException,
    status: int,
    part: str,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise failure

    monkeypatch.setattr(_study, "fit", fail)
    assert main(["fit", data, "--target", "y"]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert part in err
    assert err.count("\n") == 1


# --- what is printed, and where it cannot be ---------------------------------------------------------------------

HOSTILE = "a\x1b]0;title\x07", "b\x00\x9b31m", "\u202etxet\u2066", "y\x7f"  # an escape sequence each, NUL, marks of direction
_SHOWN = r"a\x1b]0;title\x07", r"b\x00\x9b31m", r"\u202etxet\u2066", r"y\x7f"


def _is_harmless(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


def test_names_from_a_file_are_printed_with_escapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, json_path, chart = _csv(tmp_path / "data.csv", ",".join(HOSTILE)), tmp_path / "model.json", tmp_path / "chart.svg"
    assert main(["fit", data, "--target", HOSTILE[-1], "--json", str(json_path), "--plot", str(chart)]) == 0
    out, err = capsys.readouterr()
    assert _is_harmless(out + err)
    for name in _SHOWN:
        assert name in out
        assert name in chart.read_text(encoding="utf-8")
    assert _is_harmless(json_path.read_text(encoding="utf-8"))
    assert json.loads(json_path.read_text(encoding="utf-8"))["feature_names"] == list(HOSTILE[:-1])


def test_in_a_terminal_rich_draws_names_with_escapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with _terminal(monkeypatch) as (out, err):
        assert main(["fit", _csv(tmp_path / "data.csv", ",".join(HOSTILE)), "--target", "4"]) == 0
    assert _SHOWN[-1] in out.getvalue()
    assert not any(c in out.getvalue() + err.getvalue() for c in "\x00\x07\x9b\u202e\u2066\x7f")
    assert "\x1b]" not in out.getvalue()


@pytest.mark.parametrize(
    "arguments",
    [
        ["no\x1b[31m\nfile", "--target", "y"],
        ["{data}", "--target", "\x1b[31m\u202e"],
        ["{data}", "--target", "y", "--json", "nowhere\x1b[31m/\nmodel.json"],
        ["{data}", "--target", "y", "--kernel", "\x1b[31m"],
        ["{data}", "--target", "y", "--threads", "\x1b[31m"],
        ["{data}", "--target", "y", "surplus\x1b[31m\n"],
        ["{data}", "--target", "y\udcff"],
    ],
)
def test_what_the_shell_passed_is_printed_with_escapes(
    data: str, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    try:
        status: Any = main(["fit", *(argument.format(data=data) for argument in arguments)])
    except SystemExit as exit_:
        status = exit_.code
    err = capsys.readouterr().err
    assert status == 2
    assert "\\" in err
    assert err.count("\n") == 1
    assert _is_harmless(err)


def test_what_was_left_out_is_told_before_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "data.csv"
    lines = Path(_csv(path)).read_text().splitlines()
    path.write_text("\n".join(f"{i - 1 if i else ''},{line}" for i, line in enumerate(lines)))
    assert main(["fit", str(path), "--target", "y"]) == 0
    out, err = capsys.readouterr()
    assert err.startswith(f"fastard: {path}: column 1 has no name and is left out")
    assert "54 rows, 3 inputs" in out


@pytest.mark.parametrize("option", ["--header", "--no-header"])
def test_the_header_may_be_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str) -> None:
    path = _csv(tmp_path / "data.csv", "0,1,2,3")
    assert main(["fit", path, "--target", "3", "--test-fraction", "0", option]) == 0
    out = capsys.readouterr().out
    assert ("Inputs of 3 " in out, "Inputs of column 3 " in out) == (option == "--header", option == "--no-header")
    assert f"{N + (option == '--no-header')} rows" in out


@pytest.mark.parametrize("argument", ["data", "--target", "--json", "--plot"])
@pytest.mark.parametrize("value", ["", " "])
def test_an_empty_argument_is_refused_by_name(
    data: str, capsys: pytest.CaptureFixture[str], argument: str, value: str
) -> None:
    arguments = [value, "--target=y"] if argument == "data" else [data, "--target=y", f"{argument}={value}"]
    with pytest.raises(SystemExit) as exit_:
        main(["fit", *arguments])
    assert exit_.value.code == 2
    assert re.search(rf"argument {argument}\S*: must not be empty", capsys.readouterr().err)


def test_a_bare_memory_error_is_told(data: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(_study, "fit", fail)
    assert main(["fit", data, "--target", "y"]) == 1
    assert capsys.readouterr().err == "fastard fit: error: not enough memory; take fewer rows\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_under_the_report_is_told_and_the_rest_is_written(data: str, tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "fastard", "fit", data, "--target", "y", "--json", str(path)]
        root = Path(__file__).parent.parent
        ran = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, encoding="utf-8", timeout=120, cwd=root)
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1] == "fastard fit: error: standard output: No space left on device"
    assert "Traceback" not in ran.stderr
    assert json.loads(path.read_text(encoding="utf-8"))["kernel"] == "rbf"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_progress_that_cannot_be_written_ends_no_training(data: str) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "fastard", "fit", data, "--target", "y"]
        root = Path(__file__).parent.parent
        ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=full, text=True, encoding="utf-8", timeout=120, cwd=root)
    assert ran.returncode == 0
    assert "relevance" in ran.stdout


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_without_a_stream_nothing_goes_to_the_other(
    data: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stream: str
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(sys, stream, None)  # as Python has it where the stream is closed
        assert main(["fit", data, "--target", "y"]) == 0
    out, err = capsys.readouterr()
    assert ("relevance" in out, "evaluation" in err) == (stream != "stdout", stream != "stderr")
    assert "fastard:" not in out


# --- files written ----------------------------------------------------------------------------------------------


def test_an_earlier_file_stays_whole_where_writing_fails(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    for name in ("model.json", "chart.svg"):
        (folder / name).write_text("earlier")

    class Full(io.BytesIO):
        def write(self, _: Any) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def full(path: Path, *arguments: Any, **options: Any) -> Any:
        opened = original(path, *arguments, **options)
        if path.suffix != ".unfinished":
            return opened
        opened.close()
        return Full()

    original = Path.open
    monkeypatch.setattr(Path, "open", full)
    for option, name in (("--json", "model.json"), ("--plot", "chart.svg")):
        assert main(["fit", data, "--target", "y", option, str(folder / name)]) == 1
        out, err = capsys.readouterr()
        assert "relevance" in out
        assert err.splitlines()[-1] == f"fastard fit: error: {folder / name}: No space left on device"
        assert (folder / name).read_text() == "earlier"
    assert sorted(os.listdir(folder)) == ["chart.svg", "model.json"]


@pytest.mark.skipif(os.name != "posix", reason="modes and links as POSIX has them")
def test_a_file_that_is_replaced_keeps_its_mode_and_links(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("earlier")
    (tmp_path / "file").chmod(0o640)
    (tmp_path / "link").symlink_to("file")

    def write(file: Any) -> None:
        file.write(b"later")
        assert (tmp_path / "file").read_text() == "earlier"

    replace_file(tmp_path / "link", write)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "later"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
    assert sorted(os.listdir(tmp_path)) == ["file", "link"]
    new = tmp_path / "new"
    new.symlink_to("made")
    replace_file(new, lambda file: file.write(b"later"))
    assert new.is_symlink()
    assert (tmp_path / "made").read_text() == "later"


def test_a_file_that_may_not_be_written_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_text("earlier")
    monkeypatch.setattr(os, "access", lambda *_: False)  # for root all is writable
    with pytest.raises(PermissionError, match="file"):
        replace_file(path, lambda file: file.write(b"later"))
    assert path.read_text() == "earlier"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_what_is_no_file_is_written_to_directly(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    for path in (f"/dev/fd/{writing}", tmp_path / "pipe"):
        if path == tmp_path / "pipe":
            os.mkfifo(path)
            os.close(reading)
            reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        elif not os.path.exists(path):
            continue
        replace_file(path, lambda file: file.write(b"later"))
        assert os.read(reading, 99) == b"later"
    os.close(reading)
    os.close(writing)


def test_the_data_is_not_replaced(data: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = Path(data).read_text()
    assert main(["fit", data, "--target", "y", "--json", data]) == 2
    assert "is the data" in capsys.readouterr().err
    assert Path(data).read_text() == before


# --- in a terminal ----------------------------------------------------------------------------------------------


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@contextlib.contextmanager
def _terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[_Terminal, _Terminal]]:
    """stdout and stderr as terminals."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    out, err = _Terminal(), _Terminal()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield out, err


def test_in_a_terminal_rich_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with _terminal(monkeypatch) as (out, err):
        assert main(["fit", _csv(tmp_path / "data.csv", "[red],slope,idle,y"), "--target", "y"]) == 0
    assert "\x1b[" in out.getvalue()
    assert "[red]" in out.getvalue()  # no markup
    assert max(map(len, re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).splitlines())) <= 80
    assert "\x1b[" in err.getvalue()
    assert "evaluations" in err.getvalue()


def test_a_narrow_terminal_keeps_the_columns_numbers_and_names(messy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with _terminal(monkeypatch) as (out, _):
        monkeypatch.setenv("COLUMNS", "50")
        assert main(["fit", messy]) == 2
    shown = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())
    assert max(map(len, shown.splitlines())) <= 50
    assert re.search(r"  5   remark   ", shown)
    assert "6 values" in shown


def test_signal_and_noise_have_a_line_each_in_80_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with _terminal(monkeypatch) as (out, _):
        assert main(["fit", _csv(tmp_path / "data.csv"), "--target", "y"]) == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).splitlines()
    for name in ("signal", "noise"):
        (line,) = (line for line in lines if line.startswith(f"  {name} "))
        assert re.search(r"std [\d.e+-]+ .*, variance [\d.e+-]+$", line.strip())


def test_in_a_terminal_without_rich_there_are_plain_lines(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ["rich", *(name for name in sys.modules if name.startswith("rich."))]:
        monkeypatch.setitem(sys.modules, name, None)
    with _terminal(monkeypatch) as (out, err):
        assert main(["fit", data, "--target", "y"]) == 0
    assert "\x1b" not in out.getvalue() + err.getvalue()
    assert "relevance" in out.getvalue()
    assert "evaluation 1 " in err.getvalue()


def test_progress_lines_are_few(capsys: pytest.CaptureFixture[str]) -> None:
    X = np.linspace(0.0, 1.0, 30)[:, np.newaxis]
    with _progress.progress() as callback:
        fit(X, np.sin(9.0 * X), n_restarts=5, rng=0, callback=callback)
    lines = capsys.readouterr().err.splitlines()
    assert 2 <= len(lines) <= 6
    assert "best" in lines[-1]


def test_progress_within_an_evaluation_has_room_in_80_columns() -> None:
    so_far = _progress.TrainingProgress(prints=False)
    so_far(TrainingState(12, -12345.67, -12345.67, np.ones(3), {}))
    so_far.evaluating(0.45)
    assert re.search(r"45% of evaluation 13   \d+\.\d s", str(so_far)[:78])  # beside the spinner and a blank
    so_far.finishing("converged")
    so_far.evaluating(0.5)
    assert "   50% factored   " in str(so_far)


def test_progress_of_stages_has_room_in_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a million points, with the largest of all figures; phases are told where no evaluation is under way."""
    now = [0.0]
    monkeypatch.setattr(_progress.time, "perf_counter", lambda: now[0])
    so_far = _progress.TrainingProgress(prints=True)
    with so_far.during("exact fit of 1000 points"):
        assert str(so_far) == "exact fit of 1000 points   0.0 s"
    assert str(so_far).startswith("first evaluation")
    for evaluation, gain in ((11, math.nan), (12, 1234.5)):
        now[0] += 1000.0
        so_far(TrainingState(evaluation, -1234567.89, -1234567.89, np.full(12, 1e5), {}, 2, gain))
    now[0] += 2000.0
    so_far.evaluating(0.45)
    now[0] += 4000.0
    with so_far.during("finding neighbours"):
        pass
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "fastard: exact fit of 1000 points   0.0 s",
        "fastard: stage 2, evaluation 11   ℓ -1234567.9   1000.0 s",
        "fastard: stage 2, evaluation 12   ℓ -1234567.9   1.2e+03 to gain   2000.0 s",
        "fastard: stage 2, evaluation 13: 45%   ℓ -1234567.9   1.2e+03 to gain   4000.0 s",
        "fastard: finding neighbours   ℓ -1234567.9   1.2e+03 to gain   8000.0 s",
    ]
    assert max(map(len, lines)) <= 80


def test_progress_on_a_stderr_that_has_not_its_letters_or_is_closed() -> None:
    """Neither is a reason to end a training."""
    X = np.linspace(0.0, 1.0, 10)[:, np.newaxis]
    written = io.BytesIO()
    ascii_only = io.TextIOWrapper(written, encoding="ascii")
    closed = io.StringIO()
    closed.close()
    for stream in (ascii_only, closed):
        with contextlib.redirect_stderr(stream):
            assert fit(X, np.sin(9.0 * X), progress=True).n_evaluations > 1
    assert b"evaluation 1   ? -" in written.getvalue()


# --- demo, info, help -------------------------------------------------------------------------------------------


def test_demo_needs_only_the_dependencies() -> None:
    block = "import sys; sys.modules.update(dict.fromkeys(['rich', 'matplotlib', 'pandas', 'sklearn']))"
    ran = _child("-c", f"{block}; from fastard.__main__ import main; sys.exit(main(['demo', '--n', '200', '--threads', '1']))")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count("ok    ") == 4
    assert "FAILED" not in ran.stdout
    assert "n = 200, d = 8" in ran.stdout


def test_demo_tells_a_wrong_answer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(_demo, "_STRONGEST", "r")
    monkeypatch.setattr(_demo, "_CLOCK_LIMIT", 0.0)
    assert main(["demo", "--n", "50"]) == 1
    assert "FAILED  relevance" in capsys.readouterr().out


def test_borehole_at_a_known_point() -> None:
    # At the middle of the ranges, by hand: ln(25050 / 0.1) = 12.431, 2 pi Tu (Hu - Hl) / (...) = 70.8729.
    middle = np.array([[0.1, 25050.0, 89335.0, 1050.0, 89.55, 760.0, 1400.0, 10950.0]])
    assert _demo.borehole(middle)[0] == pytest.approx(70.87291263681897, rel=1e-12)


def test_the_yardstick_computes_the_same() -> None:
    data = _demo.sample(60, np.random.default_rng(0))
    scales, y = 2.0 * data.X.std(axis=0), data.y - data.y.mean()
    value, gradient = _plain.log_marginal_likelihood(data.X, y, scales, 500.0, 20.0)
    ours, our_gradient = fastard.log_marginal_likelihood(
        data.X, y, length_scale=scales, signal_variance=500.0, noise_variance=20.0, eval_gradient=True
    )
    assert ours == pytest.approx(value, rel=1e-11)
    np.testing.assert_allclose(our_gradient, gradient, rtol=0, atol=1e-10 * np.abs(gradient).max())


def test_info_from_the_module_without_a_cache(tmp_path: Path) -> None:
    ran = _child("-m", "fastard", "info", NUMBA_CACHE_DIR=str(tmp_path))
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    for part in (fastard.__version__, "numba", "cores available", "own; Numba's threading layer is not used", str(tmp_path)):
        assert part in ran.stdout


def test_help_names_every_default(capsys: pytest.CaptureFixture[str]) -> None:
    for command, defaults in (("fit", 18), ("predict", 5), ("demo", 2)):
        with pytest.raises(SystemExit) as exit_:
            main([command, "--help"])
        assert exit_.value.code == 0
        assert " ".join(capsys.readouterr().out.split()).count("(default: ") == defaults


def test_no_command_is_an_error_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([])
    assert exit_.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


# --- show_config and warmup -------------------------------------------------------------------------------------


def test_show_config(capsys: pytest.CaptureFixture[str]) -> None:
    assert show_config() is None
    printed = capsys.readouterr().out
    config = show_config(mode="dicts")
    assert config is not None
    assert capsys.readouterr().out == ""
    for section, entries in config.items():
        assert section in printed
        assert all(key in printed for key in entries)
    assert config["versions"]["numpy"] == np.__version__
    assert config["threads"]["default"] == _threads.default_threads()
    with pytest.raises(ValueError, match="mode must be"):
        show_config(mode="html")  # type: ignore[arg-type]


def _compiled() -> dict[str, set[Any]]:
    modules = [module for name, module in sys.modules.items() if name.startswith("fastard.")]
    values = [value for module in modules for value in vars(module).values() if isinstance(value, Dispatcher)]
    return {f"{value.__module__}.{value.__name__}": set(value.signatures) for value in values}


@pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT", "0") != "0", reason="nothing is compiled")
@pytest.mark.parametrize("kernel", ["rbf", "rational_quadratic"])
def test_warmup_leaves_nothing_to_compile(kernel: str, capsys: pytest.CaptureFixture[str]) -> None:
    warmup(kernel)
    before = _compiled()
    assert any(before.values())  # how many depends on what other tests have called
    random = np.random.default_rng(0)
    X, Y = random.standard_normal((300, 2)), random.standard_normal((300, 3))
    X.flags.writeable = Y.flags.writeable = False
    fit(X, Y, kernel=kernel, max_iterations=2).predict(X[::2], return_cov=True)
    fastard.covariance(X, kernel=kernel, length_scale=1.0)
    fastard.covariance_vjp(random.standard_normal((300, 300)), X, kernel=kernel, length_scale=1.0)
    fastard.log_marginal_likelihood(X, Y, kernel=kernel, length_scale=[1.0, 2.0], eval_gradient=True)
    assert _compiled() == before
    assert capsys.readouterr().err == ""


def test_warmup_takes_every_kernel_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[Any] = []
    derived: list[Any] = []
    predicted: list[Any] = []
    monkeypatch.setattr(_warmup, "compile_training", lambda kernel, **options: trained.append((kernel, options)))
    monkeypatch.setattr(_warmup, "compile_predictions", predicted.append)
    monkeypatch.setattr(_warmup, "compile_derivatives", derived.append)
    warmup()
    assert predicted == derived
    assert [type(kernel) for kernel in derived] == list(BY_NAME.values())
    searches: list[dict[str, str]] = [
        {},
        *({"objective": name, "mean": "linear"} for name in ("log_marginal_likelihood", "loo")),
    ]
    assert trained == [(kernel, options) for kernel in derived for options in searches]


def test_warmup_tells_of_its_progress_where_asked(capsys: pytest.CaptureFixture[str]) -> None:
    warmup(fastard.RBF(), progress=True)
    assert capsys.readouterr().err == "fastard: compiling RBF\n"
    with pytest.raises(ValueError, match="kernel must be one of"):
        warmup("rbff")
