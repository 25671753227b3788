"""The benchmarks measure the same thing for everyone, and every class of theirs still runs."""

import importlib.util
import inspect
import json
import re
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import fastard

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))  # after what is installed: the fastard under test stays the one that was installed

pytest.importorskip("benchmarks", reason="the benchmarks come with the source only")

from benchmarks import (  # noqa: E402
    bayes,
    fits,
    many_cores,
    many_points,
    oversubscription,
    peers,
    sklearn_clients,
    timing,
    vecchia_dask,
    vecchia_data,
    vecchia_inducing,
    vecchia_loss,
    vecchia_noiseless,
    vecchia_peers,
)
from benchmarks.implementations import IMPLEMENTATIONS  # noqa: E402
from benchmarks.longdouble import reference  # noqa: E402
from benchmarks.problems import KERNELS, make_problem, smooth_data  # noqa: E402
from benchmarks.report import describe_machine, markdown, milliseconds  # noqa: E402

MODULES = {path.stem: import_module(f"benchmarks.{path.stem}") for path in sorted((ROOT / "benchmarks").glob("[!_]*.py"))}
COMMANDS = [name for name, module in MODULES.items() if hasattr(module, "argparse")]
SLOW = {  # each compiles all anew
    "track_cached",
    "track_second_kernel_cold",
    "track_second_kernel_cached",
    "track_fit_after_that_cold",
    "track_fit_after_that_cached",
    "track_predict_after_that_cold",
}
BENCHMARK = re.compile("(time|timeraw|track|peakmem)_")


def is_benchmark_class(candidate, module):
    return inspect.isclass(candidate) and candidate.__module__ == module and any(map(BENCHMARK.match, vars(candidate)))


CLASSES = [
    candidate
    for module in MODULES.values()
    for candidate in vars(module).values()
    if is_benchmark_class(candidate, module.__name__)
]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    """What is tested is that a benchmark runs, not what it finds."""
    monkeypatch.setattr(timing, "EFFORT", 0.0)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_implementations_agree_with_long_double(name, kernel):
    problem = make_problem(30, 3, kernel)
    try:
        value, gradient = IMPLEMENTATIONS[name](problem)()
    except NotImplementedError as error:
        pytest.skip(str(error))
    true_value, true_gradient = reference(problem)
    assert value == pytest.approx(float(true_value), rel=1e-10)
    np.testing.assert_allclose(gradient, true_gradient.astype(float), rtol=0, atol=1e-10 * max(1.0, np.abs(gradient).max()))


@pytest.mark.parametrize("benchmark_class", CLASSES, ids=lambda c: c.__name__)
def test_each_benchmark_runs_at_its_smallest(benchmark_class):
    axes = getattr(benchmark_class, "params", ())
    first = tuple(axis[0] for axis in axes)
    for name in filter(BENCHMARK.match, set(dir(benchmark_class)) - SLOW):
        benchmark = benchmark_class()
        try:
            getattr(benchmark, "setup", lambda *_: None)(*first)
        except NotImplementedError as error:
            pytest.skip(str(error))
        try:
            result = getattr(benchmark, name)(*first)
        finally:
            getattr(benchmark, "teardown", lambda *_: None)(*first)
        if name.startswith("track_"):
            assert np.isfinite(result), name
        elif name.startswith("timeraw_"):
            compile(result, name, "exec")


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_says_what_it_does(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as caught:
        MODULES[name].main()
    assert caught.value.code == 0
    assert f"usage: python -m benchmarks.{name} " in capsys.readouterr().out


def test_peers_race_and_a_wrong_answer_is_left_out():
    interpreters = dict.fromkeys(("fastard", "numpy-by-dimension"), sys.executable)
    text, figures = peers.table([(20, 2)], interpreters, total_seconds=0.0, progress=lambda line: None)
    result = figures["results"][0]
    assert set(result["seconds"]) == set(interpreters)
    assert result["failures"] == {}
    assert text.count("\n") == 2
    with pytest.raises(peers.PeerError, match="gradient differs"):
        peers.check({"value": 1.0, "gradient": [1.0, 2.0]}, {"value": 1.0, "gradient": [1.0, 2.001]})
    with pytest.raises(peers.PeerError, match="value differs"):
        peers.check({"value": 1.0, "gradient": [1.0]}, {"value": float("nan"), "gradient": [1.0]})


@pytest.mark.parametrize("client", sklearn_clients.CLIENTS)
def test_clients_regrets_are_compared(client):
    pytest.importorskip(sklearn_clients.CLIENTS[client][0])
    lines = sklearn_clients.table(clients=[client], functions=["Branin"]).splitlines()
    assert len(lines) == 3
    assert lines[2].count("|") == len(sklearn_clients.HEADINGS) + 1
    assert re.search("[012] of 2", lines[2])


def test_minima_are_the_functions():
    branin, hartmann6 = sklearn_clients.FUNCTIONS.values()
    for place in ((-np.pi, 12.275), (np.pi, 2.275), (9.424777960769379, 2.475)):
        assert branin.call(place) == pytest.approx(branin.minimum, abs=1e-12)
    place = [0.20168951, 0.15001069, 0.47687398, 0.27533243, 0.31165162, 0.65730053]
    assert hartmann6.call(place) == pytest.approx(hartmann6.minimum, abs=1e-12)


def test_regrets_are_compared_by_seed():
    """Seeds with the same points count as none; the others as they are."""
    function = sklearn_clients.Function(None, [(0.0, 2.0)], 1.0)
    at = lambda x, value: sklearn_clients.Run(np.array([[x]]), np.array([3.0, value]), 1.0)  # noqa: E731
    theirs = [at(1.0, 2.0), at(1.0, 1.5), at(0.5, 1.25)]
    same = sklearn_clients.Comparison(theirs, [at(1.0001, 2.001), *theirs[1:]], function).row()
    assert same[2:5] == ["+0 ± 0", "1.00", "3 of 3"]
    parted = sklearn_clients.Comparison(theirs, [at(1.1, 2.3), *theirs[1:]], function).row()
    assert parted[0] == "0.583"
    assert parted[1] == "0.683"
    assert parted[2].startswith("+0.1 ±")
    assert parted[3:5] == ["1.00", "2 of 3"]


def test_absent_environments_are_skipped(tmp_path):
    assert set(peers.interpreters(str(tmp_path))) == set(IMPLEMENTATIONS)
    assert set(peers.interpreters(None)) == set(IMPLEMENTATIONS)


def test_tables_are_markdown_and_name_the_machine():
    assert markdown(["n", "time"], [[1, "2 ms"]]) == "| n | time |\n|--:|-----:|\n| 1 | 2 ms |"
    assert [milliseconds(s) for s in (1e-4, 0.01234, 1.3712)] == ["0.1", "12.3", "1371"]
    assert re.search(r"\d+ cores.*fastard .*numba .*numpy .*scipy .*\d{4}-\d{2}-\d{2}", describe_machine())


def test_asv_is_configured_for_this_repository():
    configuration = json.loads((ROOT / "asv.conf.json").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert configuration["project"] == project["name"]
    assert (ROOT / configuration["benchmark_dir"]).is_dir()


def test_fits_race_and_one_whose_parameters_are_misread_is_left_out():
    chosen = dict.fromkeys(("fastard", "gpflash"), sys.executable)  # gpflash may be absent, which is no failure
    text, figures = fits.table([(20, 3)], chosen, seeds=2, total_seconds=0.0, patience=60.0, progress=lambda line: None)
    result = figures["results"][0]
    assert result["failures"] == {}
    assert all(0.0 <= below < 1.0 for below in result["nats below"].values())
    assert text.count("\n") == 2
    X, y = smooth_data(20, 3)
    found = fastard.fit(X, y)
    answer = {
        "length_scale": found.length_scale,
        "signal_variance": found.signal_variance,
        "noise_variance": found.noise_variance,
        "value": found.log_marginal_likelihood,
    }
    assert fits.end(X, y, answer) == pytest.approx(found.log_marginal_likelihood, rel=1e-9)
    with pytest.raises(peers.PeerError, match="fastard gives"):
        fits.end(X, y, answer | {"length_scale": found.length_scale**2})


def test_samplers_take_turns(capsys):
    pytest.importorskip("nutpie", exc_type=ImportError)
    names = ["fastard"] + [name for name in bayes.CONTESTANTS[1:] if importlib.util.find_spec("numpyro")]
    text, figures = bayes.table([(12, 3)], names, turns=1, chains=1, draws=20, warmup=20)
    assert [each["name"] for each in figures] == names
    assert all(np.isfinite(each["sampling"]) and len(each["mean"]) == 5 for each in figures)
    assert text.count("\n") == 1 + len(names)
    assert capsys.readouterr().out.count("12 x 3") == len(names)


@pytest.mark.parametrize("n", [100, 300, 1000, 1500, 3500])
def test_the_replay_does_all_of_the_schedules_work(n):
    """On one worker its time is the work's; with more, no less than their share of it and than the longest chain."""
    tile, block = fastard._engine.sizes.sizes(n)
    steps, assumed = -(-n // block), np.array(many_cores.Assumptions(wake=0.0, wake_each=0.0, take=0.0, handover=0.0))
    for row, work in ((many_cores.PIVOT_COST, steps), (many_cores.INVERSE_COST, steps), (many_cores.CONTRACT_COST, n * n / 2)):
        costs = np.zeros((7, 2))
        costs[row] = 1.0
        assert many_cores.replay(n, tile, block, 2, 1, costs, assumed) == pytest.approx((work, work))
    costs = np.tile([[30e-6], [7e-6], [3e-7], [2e-9], [2e-9], [3e-9], [3e-9]], 2)
    times = {}
    for workers in (0, 1, 2, 8, 64):
        times[workers], total = many_cores.replay(n, tile, block, 2, workers, costs, assumed)
        assert times[workers] >= max(times[0], total / max(workers, 1) if workers else 0.0) * (1.0 - 1e-9)
    assert times[1] == pytest.approx(total)
    assert times[2] < 0.9 * times[1] or n == 100
    assert times[64] < times[8] < times[2] or n < 1000
    for slower in ({"bandwidth": 1e9, "cache": 1.0}, {"slow_workers": 4, "slowness": 3.0}, {"take": 1e-5}, {"handover": 1e-5}):
        given = np.array(many_cores.Assumptions(wake=0.0, wake_each=0.0)._replace(**slower))
        assert many_cores.replay(n, tile, block, 2, 8, costs, given)[0] > times[8]


def test_many_cores_are_replayed_and_drawn(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    many_cores.main(["--sizes", "60", "300", "--seconds", "0", "--plot", str(tmp_path / "plot.svg")])
    assert sum(line.startswith("| 300 |") for line in capsys.readouterr().out.splitlines()) == 2  # both tables
    assert (tmp_path / "plot.svg").read_text().startswith("<?xml")


def test_oversubscription_is_measured():
    figures = [float(cell) for cell in oversubscription.table((160,), rounds=1).splitlines()[-1].strip("|").split("|")]
    assert len(figures) == 1 + 2 * len(oversubscription.CASES)
    assert min(figures) > 0.0


def test_losses_of_vecchia_are_drawn(tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(vecchia_loss.losses, "__defaults__", (((8, 1), (16, 4)), 0.3))
    vecchia_loss.main(["--points", "1100", "--dimensions", "2", "--noises", "1", "--plot", str(tmp_path / "plot.svg")])
    losses = capsys.readouterr().out.splitlines()[-2].strip("|").split("|")
    assert losses[0].strip() == "2, 1"
    assert 0.0 < float(losses[2]) < 0.1
    assert (tmp_path / "plot.svg").read_text().startswith("<?xml")


def test_growth_with_the_number_of_points_is_told(tmp_path, capsys):
    """Figures that are kept are not measured again."""
    arguments = ["--sizes", "1100", "1200", "--json", str(tmp_path / "figures.json")]
    found = {f"evaluation({n}, {m}, {b})": many_points.evaluation(n, m, b) for m, b in many_points.PAIRS for n in (1100, 1200)}
    (tmp_path / "figures.json").write_text(json.dumps(found))
    many_points.main(arguments)
    lines = capsys.readouterr().out.splitlines()
    assert sum(bool(re.match(r"\|\s*1[12]00 \|", line)) for line in lines) == len(found)
    assert sum(line.startswith("| 1e8 |") for line in lines) == len(many_points.PAIRS) * len(many_points.WORKERS)


def test_trainings_on_real_data_have_a_row_for_each_number_of_neighbours(monkeypatch, tmp_path):
    monkeypatch.setattr(vecchia_data, "PREDICTED_FROM", (16, 32))
    random = np.random.default_rng(0)
    X = random.uniform(size=(1150, 2))
    rows = np.column_stack([X, np.sin(6.0 * X[:, 0]) + 0.1 * random.standard_normal(1150)])
    np.savetxt(tmp_path / "waves.csv", rows, delimiter=",")
    np.savetxt(tmp_path / "waves.test_mask.csv", np.arange(1150)[:, np.newaxis] % [23, 7] == 0, delimiter=",", fmt="%d")
    data = vecchia_data.load(tmp_path, "waves")
    assert [len(part) for part in data] == [1100, 1100, 50, 50]
    found, model = vecchia_data.trained("waves", data, 16, 4)
    found += [*vecchia_data.subset("waves", data, 200), vecchia_data.exact("waves", data, model)]
    assert [row[1] for row in found] == [
        "16+4, from 16", "16+4, from 32", "exact fit of 200 rows", "64+16, from 16, of these 200",
        "64+16, from 32, of these 200", "exact, the same parameters",
    ]  # fmt: skip
    assert all(0.05 < float(row[4]) < 0.3 for row in found)


def test_vecchias_fits_are_judged_by_the_exact_likelihood():
    assert min(vecchia_peers.fastard_evaluation(1100, 8)["times"]) > 0.0
    fit = vecchia_peers.fastard_fit(300, 8)
    X, y, _ = many_points.points(300)
    exact = fastard.fit(X, y, kernel="matern52").log_marginal_likelihood
    assert vecchia_peers.judge(300, fit["parameters"])["value"] == pytest.approx(exact, abs=1.0)
    assert vecchia_peers.Runner(None, 1.0)("GPBoost", "gpboost_fit", 10, 8) == {"error": "no environment"}


def test_predictions_without_noise_are_measured():
    kernel, of_64, error_of_64, of_256, error_of_256, *by_default = vecchia_noiseless.row_of("matern52", 1, 300, 20)
    assert kernel == "matern52, 1, 300"
    assert 0.0 <= float(of_64.strip("%")) <= float(of_256.strip("%")) <= 100.0
    assert all(0.0 < float(error) < 0.1 for error in (error_of_64, error_of_256 or "0.05", *by_default[:2]))


def test_held_out_rows_judge_fits_beside_inducing_points(monkeypatch):
    X, y = vecchia_inducing.borehole(400)
    assert X.shape == (400, 8)
    assert np.corrcoef(X[:, 0], y)[0, 1] > 0.7  # the radius of the borehole
    assert (y > 0.0).all()
    original = vecchia_inducing.data_of
    monkeypatch.setattr(vecchia_inducing, "data_of", lambda folder, name: original(folder, name, 500))
    data = vecchia_inducing.data_of("", "borehole")
    assert [len(part) for part in data] == [500, 500, 100, 100]
    found = vecchia_inducing.fastard_fit("", "borehole")
    row = vecchia_inducing.row_of("defaults", "fastard", found)
    assert float(row[4]) < 0.05
    assert vecchia_inducing.row_of("x", "GPflow", {"error": "no environment"})[1] == "no environment"


@pytest.mark.process
def test_an_evaluation_on_a_cluster_is_measured():
    pytest.importorskip("distributed")
    lines = vecchia_dask.smoke(1500, 16, 8).splitlines()
    assert len(lines) == 4
    assert "n = 1500" in lines[0]
