"""Compiled code on disk: never older than the sources, never a reason to fail, and a word where compiling takes long."""

import ast
import importlib
import io
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import threading
from pathlib import Path

import numba
import pytest
from conftest import ROOT, run_python
from numba.core.codegen import CPUCodeLibrary
from numba.core.dispatcher import Dispatcher

import fastard
from fastard import _warmup
from fastard._numba import cache as _cache
from fastard._numba import symbols
from fastard._numba.jit import jit

PACKAGE = ROOT / "fastard"


def cube(x):
    return x * x * x


def outer(x):
    return inner(x) + 1.0


@jit
def inner(x):
    return 2.0 * x


def evaluate(function=cube):
    """Compile or load, as a new process would; whether it was loaded."""
    compiled = jit(function)
    assert compiled(3.0) == function(3.0)
    return sum(compiled.stats.cache_hits.values()) == 1


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty directory, the only one for compiled code."""
    monkeypatch.setattr(_cache, "places", lambda: [str(tmp_path / "cache")])
    return tmp_path / "cache"


@pytest.fixture
def site(tmp_path):
    """A directory with a copy of the package, for PYTHONPATH."""
    shutil.copytree(PACKAGE, tmp_path / "site" / "fastard", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "site"


def run_copy(site, script, **environment):
    """Run a script with the copy, whose only cache is in cache/ beside it."""
    environment = {"NUMBA_CACHE_DIR": site.parent / "cache", "SITE": site, "PYTHONPATH": site, **environment}
    check = "import os, fastard; assert fastard.__file__.startswith(os.environ['SITE']), fastard.__file__\n"
    return run_python(check + textwrap.dedent(script), **environment)


def edit(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


COVARIANCE = """
import numpy as np
from fastard._engine.loops.profiles import loop
function, s = loop(fastard.Matern32), np.array([4.0])
function(np.empty(0), 1.0, False, s, np.empty(1), np.empty((0, 1)))
print(sum(function.stats.cache_hits.values()), s[0])
"""
MIRROR = """
import numpy as np
from fastard._engine.loops.pairs import mirror as function
from fastard._numba.threads import new_state, parallel_call
A = np.array([[1.0, 7.0], [0.0, 1.0]])
parallel_call(2, function, new_state(), A, 2, 24)
print(sum(function.stats.cache_hits.values()), A[1, 0])
"""


@pytest.mark.parametrize(
    ("name", "old", "new", "script", "before", "after"),
    [
        ("_numba/elementary", "_SMALLEST = -708.0", "_SMALLEST = -1.0", COVARIANCE, 0.13973135, 0.0),
        ("kernels", "_SQRT3 = math.sqrt(3.0)", "_SQRT3 = 0.0", COVARIANCE, 0.13973135, 1.0),
        ("_numba/threads", "FAILED = 0, 8, 9, 16", "FAILED = 0, 10, 9, 16", MIRROR, 7.0, 7.0),
    ],
)
def test_change_in_another_file(site, name, old, new, script, before, after):
    """What the changed file is compiled into is compiled anew, and replaced."""
    hits, value = run_copy(site, script).split()
    assert (hits, float(value)) == ("0", pytest.approx(before))
    assert run_copy(site, script).split() == ["1", value]
    files = sorted(path.name for path in (site.parent / "cache").rglob("*.nb*"))

    edit(site / "fastard" / f"{name}.py", old, new)
    hits, value = run_copy(site, script).split()
    assert (hits, float(value)) == ("0", pytest.approx(after))
    assert run_copy(site, script).split() == ["1", value]
    assert sorted(path.name for path in (site.parent / "cache").rglob("*.nb*")) == files


def test_change_that_compiled_code_does_not_see(site):
    """In a Python file, or of a file's date alone: nothing is compiled anew."""
    script = "from fastard._numba import cache; print(cache.stamp().hex())"
    before = run_copy(site, script)
    with (site / "fastard" / "_model" / "gaussian_process.py").open("a") as file:
        file.write("# a comment\n")
    os.utime(site / "fastard" / "_engine" / "loops" / "pairs.py", (0, 0))
    assert run_copy(site, script) == before


def test_change_while_the_process_runs(site):
    """It goes on with what it has imported, and keeps none of it under the new sources' stamp."""
    run_copy(
        site,
        """
        import math
        from fastard._numba.elementary import exp
        with open(os.path.join(os.environ["SITE"], "fastard", "_numba", "elementary.py"), "a") as file:
            file.write("_SMALLEST = -1.0")
        assert exp(-2.0) == math.exp(-2.0)
        """,
    )
    assert not list((site.parent / "cache").rglob("*.nb*"))


def imported(path):
    """Full names of what a file imports, or takes as numba.this."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found.add(f"{node.value.id}.{node.attr}")
    return found


def test_stamp_covers_all_that_is_compiled():
    """If this fails, add the module that it names to `SOURCES` in fastard/_numba/cache.py."""
    files = {path.relative_to(PACKAGE).with_suffix("").as_posix(): path for path in PACKAGE.rglob("*.py")}
    assert set(_cache.SOURCES) <= set(files)
    compilers = {"fastard._numba.jit"} | {
        f"numba.{name}" for name in ("njit", "jit", "extending", "vectorize", "guvectorize", "cfunc")
    }
    others = {f"fastard.{name.replace('/', '.')}" for name in set(files) - set(_cache.SOURCES)}
    for name, path in sorted(files.items()):
        if name in _cache.SOURCES:
            assert not imported(path) & others, f"{name} imports {imported(path) & others}"
        else:
            assert not imported(path) & compilers, f"{name} is compiled"


def test_every_function_has_a_name_of_its_own():
    """Two of one name would replace each other for ever."""
    held = [
        value
        for module in _cache.SOURCES
        for value in vars(importlib.import_module(f"fastard.{module.replace('/', '.')}")).values()
    ]
    held += symbols._dispatchers.values()
    functions = {id(value): value for value in held if isinstance(value, Dispatcher)}
    assert len({function._cache._name for function in functions.values()}) == len(functions) > 40


SETTINGS = [
    ("OPT", 0),
    ("BOUNDSCHECK", 1),
    ("LOOP_VECTORIZE", 0),
    ("CPU_NAME", "the host's own, say"),
    ("DEBUGINFO_DEFAULT", 1),
]


@pytest.mark.parametrize(("name", "value"), SETTINGS)
def test_settings_live_side_by_side(place, monkeypatch, name, value):
    """NUMBA_CPU_NAME, even the host's own, makes `cpu` choose other vectors, which Numba's key does not tell."""
    assert not evaluate()
    assert evaluate()
    cache = _cache.Cache(jit(cube))
    codegen = inner.targetctx.codegen()
    before = cache._key((numba.float64,), codegen)
    monkeypatch.setattr(numba.config, name, value)
    after = cache._key((numba.float64,), codegen)
    assert before[0] != after[0]
    assert before[1] != after[1]
    monkeypatch.undo()
    assert cache._key((numba.float64,), codegen) == before


def make_unreadable(path):
    """For root too: a link to itself."""
    path.unlink()
    path.symlink_to(path)


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "seal_only": lambda path: path.write_bytes(path.read_bytes()[: _cache._SEAL]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "garbage": lambda path: path.write_bytes(b"garbage" * 1000),
    "one_bit": flip_a_bit,
    "unreadable": make_unreadable,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_file(place, damage):
    """Compiled anew, and replaced."""
    assert not evaluate()
    (path,) = place.iterdir()
    good = path.stat().st_size
    damage(path)
    assert not evaluate()
    assert abs(path.stat().st_size - good) < 100
    assert evaluate()
    assert list(place.iterdir()) == [path]


def test_damaged_files_at_the_start_of_a_process(site):
    """All of them, as a crash of the machine leaves them."""
    run_copy(site, COVARIANCE)
    for path in (site.parent / "cache").rglob("*.nb*"):
        path.write_bytes(b"")
    hits, value = run_copy(site, COVARIANCE).split()
    assert (hits, float(value)) == ("0", pytest.approx(0.13973135))
    assert run_copy(site, COVARIANCE).split() == ["1", value]


def test_directory_in_a_file_s_place(tmp_path, monkeypatch):
    """What is there is left alone; the next place takes the file."""
    first, second = tmp_path / "first", tmp_path / "second"
    monkeypatch.setattr(_cache, "places", lambda: [str(first), str(second)])
    assert not evaluate()
    (path,) = first.iterdir()
    path.unlink()
    path.mkdir()
    assert not evaluate()
    assert evaluate()
    assert path.is_dir()
    assert [path.name] == [other.name for other in second.iterdir()]


def test_vanished_directory(place):
    assert not evaluate()
    shutil.rmtree(place)
    assert not evaluate()
    assert evaluate()


def test_file_under_the_name_of_another(place):
    """The short hash in the name is not believed alone."""
    assert not evaluate()
    (path,) = place.iterdir()
    other = _cache.Cache(jit(cube))._key((numba.int64,), inner.targetctx.codegen())[1]
    path.rename(place / other)
    compiled = jit(cube)
    assert compiled(3) == 27
    assert not compiled.stats.cache_hits


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on files there")
def test_full_disk(site):
    """A limit on the size of files stands for it, or for a quota: uncached, and nothing half-written is left."""
    script = """
    import resource
    from fastard._numba.elementary import exp
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
    assert exp(0.0) == 1.0
    """
    run_copy(site, script, HOME=site.parent, XDG_CACHE_HOME=site.parent / "home")
    assert not [path for path in site.parent.rglob("*") if ".nbc" in path.name]


def test_interrupt_while_saving(place, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(_cache.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        jit(cube)(3.0)
    assert not list(place.iterdir())


def test_interrupt_that_numba_loses(place, monkeypatch):
    """It comes in LLVM's callback, where nothing can be raised: the function works, and is not kept."""
    compiled_object = CPUCodeLibrary._get_compiled_object

    def without_it(library):
        library._compiled_object = None
        return compiled_object(library)

    monkeypatch.setattr(CPUCodeLibrary, "_get_compiled_object", without_it)
    assert not evaluate()
    assert not place.exists()


def test_several_processes_at_once(site):
    """They find a damaged cache, and compile and replace the same files."""
    run_copy(site, COVARIANCE)
    for path in (site.parent / "cache").rglob("*.nb*"):
        path.write_bytes(path.read_bytes()[:1000])
    answers = []
    workers = [threading.Thread(target=lambda: answers.append(run_copy(site, COVARIANCE).split()[1])) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(answers) == 3
    assert run_copy(site, COVARIANCE).split() == ["1", answers[0]]
    assert set(answers) == {answers[0]}


def test_a_process_that_compiles_nothing_leaves_the_compiler_alone():
    """Numba imports all that it can compile when it first does: a good part of what a first call takes."""
    script = """
    import sys
    import numpy as np, fastard
    X = np.linspace(0.0, 1.0, 20)[:, None]
    fastard.LogMarginalLikelihood(X, X[:, 0])(np.zeros(3))
    fastard.fit(X, np.sin(6.0 * X[:, 0]), kernel="rational_quadratic").predict(X, return_std=True)
    print("numba.typed.typedlist" in sys.modules)
    """
    run_python(textwrap.dedent(script))
    assert run_python(textwrap.dedent(script)).split() == ["False"]


@pytest.mark.skipif(not hasattr(os, "setresuid"), reason="no users to change to")
@pytest.mark.parametrize("variable", [False, True], ids=["beside_the_sources", "NUMBA_CACHE_DIR"])
def test_cache_made_by_another_user(variable):
    """Used where it is, though it cannot be written; what is missing goes to the user's own directory; show_config says so."""
    script = """
    import numba
    from fastard._numba.elementary import exp, log1p
    numba.njit(lambda x: x)(1.0)
    fastard.show_config(mode="dicts")  # both import what they need, which another user may not be allowed to
    if os.geteuid() == 0:
        os.setresuid(65534, 65534, 65534)
    assert exp(0.0) == 1.0 and log1p(0.0) == 0.0
    assert sum(exp.stats.cache_hits.values()) == 1 and sum(log1p.stats.cache_hits.values()) == 0
    print(fastard.show_config(mode="dicts")["compiled code"])
    """
    with tempfile.TemporaryDirectory() as folder:  # pytest's own is closed to others
        root = Path(folder)
        site, home, baked = root / "site", root / "home", root / "cache"
        shutil.copytree(PACKAGE, site / "fastard", ignore=shutil.ignore_patterns("__pycache__"))
        environment = {"HOME": home, "XDG_CACHE_HOME": home / ".cache"}
        if not variable:
            environment["NUMBA_CACHE_DIR"], baked = None, site / "fastard" / "__pycache__"
        run_copy(site, "from fastard._numba.elementary import exp; exp(0.0)", **environment)
        (exp,) = baked.rglob("*exp*.nb*")
        before = {path: path.stat().st_mtime_ns for path in baked.rglob("*")}
        home.mkdir()
        if os.geteuid() == 0:
            os.chown(home, 65534, 65534)
        folders = {path for path in (site, *site.rglob("*"), baked, *baked.rglob("*")) if path.is_dir()}
        for path in folders | {root}:
            path.chmod(0o555)
        shown = ast.literal_eval(run_copy(site, script, **environment))
        for path in folders | {root}:
            path.chmod(0o755)
        assert {path: path.stat().st_mtime_ns for path in baked.rglob("*")} == before
        (log1p,) = home.rglob("*.nb*")
        assert "log1p" in log1p.name
        # Beside the sources is a place that this user cannot write, either way; only one of the two holds compiled code.
        assert shown == {"cache directory": str(log1p.parent), "read-only caches": [str(exp.parent)]}


def nowhere(site):
    """Environment in which no one, root included, can write a cache: files stand where directories would have to be made."""
    (site / "fastard" / "__pycache__").write_text("not a directory")
    file = site.parent / "file"
    file.write_text("not a directory")
    return dict.fromkeys(("HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR"), file / "below")


def test_no_writable_cache(site):
    """It compiles anew in every process, says nothing, and leaves nothing behind."""
    environment = nowhere(site)
    before = sorted(site.parent.rglob("*"))
    out = run_copy(
        site,
        """
        from fastard._numba.elementary import exp
        assert exp.stats.cache_path is None
        assert exp(0.0) == 1.0
        shown = fastard.show_config(mode="dicts")["compiled code"]
        assert shown == {"cache directory": "none is writable: each process compiles what it does not find"}, shown
        """,
        PYTHONDONTWRITEBYTECODE="1",
        **environment,
    )
    assert out == ""
    assert sorted(site.parent.rglob("*")) == before


def test_import_writes_nothing(site):
    run_copy(site, "", PYTHONDONTWRITEBYTECODE="1")
    assert not (site.parent / "cache").exists()
    assert not (site / "fastard" / "__pycache__").exists()


def test_user_without_a_home(monkeypatch):
    """No directory called ~ is made where the process happens to run."""
    monkeypatch.setenv("XDG_CACHE_HOME", "~/.cache")
    monkeypatch.setenv("LOCALAPPDATA", "~")
    if sys.platform != "linux":
        pytest.skip("other variables there")
    assert all(os.path.isabs(place) and "~" not in place for place in _cache.places())


def test_relative_cache_directory(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(numba.config, "CACHE_DIR", "some/where")
    assert Path(_cache.places()[0]).parent == tmp_path / "some" / "where"
    assert _cache.writable_place() == _cache.places()[0]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["zip", "pyc"])
def test_sources_that_are_no_files(site, kind):
    """In an archive, or without the .py: cached all the same, and compiled anew when they change."""
    if kind == "pyc":
        compile_ = f"import compileall; compileall.compile_dir({str(site)!r}, quiet=1, legacy=True)"
    path = site / "fastard" / "_numba" / "elementary.py"
    source = path.read_text(encoding="utf-8")
    for smallest, value in (("-708.0", 0.13973135), ("-1.0", 0.0)):
        path.write_text(source.replace("_SMALLEST = -708.0", f"_SMALLEST = {smallest}"), encoding="utf-8")
        packed = site.parent / f"packed{value}" / "app.zip"
        if kind == "zip":
            packed.parent.mkdir()
            shutil.make_archive(str(packed.with_suffix("")), "zip", site)
            shutil.move(packed, site.parent / "app.zip")
            where = site.parent / "app.zip"
        else:
            where = site.parent / "compiled"
            shutil.copytree(site, where, dirs_exist_ok=True)
            subprocess.run([sys.executable, "-c", compile_.replace(str(site), str(where))], check=True)
            for source_file in where.rglob("*.py"):
                source_file.unlink()
        for hits in ("0", "1"):
            found, result = run_copy(site, COVARIANCE, PYTHONPATH=where, SITE=where).split()
            assert (found, float(result)) == (hits, pytest.approx(value))


@pytest.fixture
def watched(monkeypatch, place):
    """stderr counts as a terminal, nothing was said or compiled so far, and nobody has patience."""
    monkeypatch.setattr(_cache, "_is_watched", lambda stream: stream is sys.stderr)
    for name, value in (("_said", False), ("_earlier", 0.0), ("_outermost", None), ("_PATIENCE", -1.0)):
        monkeypatch.setattr(_cache, name, value)


def test_compiling_is_announced_once(watched, capsys):
    assert not evaluate()
    assert not evaluate(outer)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("fastard: compiling for this machine, ")
    assert "later processes load the result" in line


def test_loading_is_not_announced(watched, capsys, monkeypatch):
    assert not evaluate()
    monkeypatch.setattr(_cache, "_said", False)
    capsys.readouterr()
    assert evaluate()
    assert capsys.readouterr().err == ""


def test_without_a_cache_the_line_says_so(watched, capsys, monkeypatch):
    monkeypatch.setattr(_cache, "places", list)
    assert not evaluate()
    assert "in every process: no cache directory is writable" in capsys.readouterr().err


def test_two_seconds_of_compiling_in_all(watched, capsys, monkeypatch):
    """Functions inside others count once, what lies between calls does not, nor what failed."""
    now = [0.0]
    monkeypatch.setattr(_cache.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(_cache, "_PATIENCE", 2.0)

    class Compiled:
        is_compiling = True

    def compiling(function, seconds):
        _cache._compiling(function)
        now[0] += seconds
        _cache._compiling(function, ends=True)

    first, within, third = Compiled(), Compiled(), Compiled()
    _cache._compiling(first)
    compiling(within, 0.5)
    compiling(within, 0.5)
    _cache._compiling(first, ends=True)
    now[0] += 1000.0
    _cache._compiling(third)  # fails, after long
    now[0] += 1000.0
    third.is_compiling = False
    compiling(first, 0.9)
    assert capsys.readouterr().err == ""
    compiling(first, 0.2)
    assert capsys.readouterr().err.count("\n") == 1


def test_an_error_while_compiling_is_no_hour_of_it(watched):
    @jit
    def wrong(x):
        return x.no_such_attribute

    _cache._said = True
    with pytest.raises(numba.TypingError):
        wrong(1.0)
    assert _cache._outermost is wrong
    assert not evaluate()
    assert _cache._outermost is None


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_who_watches():
    """A terminal, or a notebook; not a file, not what a test runner reads, nor what is no stream."""
    notebook = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})()
    closed = io.StringIO()
    closed.close()
    assert _cache._is_watched(Terminal())
    assert _cache._is_watched(notebook)
    for stream in (io.StringIO(), closed, None, object()):
        assert not _cache._is_watched(stream)


def test_stream_that_fails(watched, monkeypatch):
    closed = Terminal()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    assert not evaluate()


@pytest.mark.parametrize("off", ["level", "disable"])
def test_silent_by_logging(watched, capsys, monkeypatch, off):
    logger = logging.getLogger("fastard")
    monkeypatch.setattr(logger, "level", logging.WARNING if off == "level" else logger.level)
    monkeypatch.setattr(logger.manager, "disable", logging.INFO if off == "disable" else 0)
    logger.manager._clear_cache()
    assert not evaluate()
    assert capsys.readouterr().err == ""
    monkeypatch.undo()
    logger.manager._clear_cache()


def test_a_program_s_log_has_it_instead(watched, capsys, caplog):
    with caplog.at_level(logging.INFO, logger="fastard"):
        assert not evaluate()
    assert capsys.readouterr().err == ""
    (record,) = caplog.records
    assert record.name == "fastard"
    assert record.getMessage().startswith("compiling for this machine, ")


def test_silent_where_progress_is_shown(watched, capsys, monkeypatch):
    """fastard.warmup(progress=True) prints a line a kernel."""

    def compile_small(_, **options):
        assert bool(options) or not evaluate()  # the first of its searches

    monkeypatch.setattr(_cache, "_PATIENCE", 0.0)
    monkeypatch.setattr(_warmup, "compile_training", compile_small)
    for name in ("compile_predictions", "compile_derivatives"):
        monkeypatch.setattr(_warmup, name, lambda _: None)
    fastard.warmup("rbf", progress=True)
    assert capsys.readouterr().err == "fastard: compiling RBF\n"
    assert not _cache._said
    assert _cache._earlier == 0.0


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals there")
def test_line_on_a_real_terminal(site):
    """And none in a pipe, which a test runner may count as failure."""
    edit(site / "fastard" / "_numba" / "cache.py", "_PATIENCE = 2.0", "_PATIENCE = 0.0")
    script = """
    import pty, shutil, subprocess, sys
    parent, child = pty.openpty()
    os.set_blocking(parent, False)
    command = [sys.executable, "-P", "-c", "from fastard._numba.elementary import exp; exp(0.0)"]
    subprocess.run(command, stderr=child, check=True)
    told = os.read(parent, 10_000).decode()
    assert told.startswith("fastard: compiling for this machine, ") and told.count("\\n") == 1, told
    shutil.rmtree(os.environ["NUMBA_CACHE_DIR"])
    assert subprocess.run(command, capture_output=True, check=True).stderr == b""
    """
    run_copy(site, script)


# --- beside a command -------------------------------------------------------------------------------------------


@pytest.fixture
def several_cores(monkeypatch):
    """On a machine with one, too."""
    monkeypatch.setattr(_warmup, "default_threads", lambda: 2)


def test_what_is_compiled_beside_a_command_is_what_it_needs(site):
    """All of it is loaded by the command, and nothing is compiled beside the next one."""
    script = """
    import contextlib, io, os, sys
    from pathlib import Path
    from fastard import _warmup
    from fastard._cli.main import main
    from fastard._numba.cache import Cache

    def files():
        return {path.name for path in Path(os.environ["NUMBA_CACHE_DIR"]).rglob("*.nbc")}

    _warmup.default_threads = lambda: 2
    with _warmup.compiling_beside("matern32") as child:
        assert child.wait(200) == 0
    there, loaded, load = files(), set(), Cache.load_overload

    def recording(self, sig, context):
        result = load(self, sig, context)
        if result is not None:
            loaded.add(self._key(sig, context.codegen())[1])
        return result

    Cache.load_overload = recording
    table = Path("data.csv")
    table.write_text("".join(f"{i % 7},{i % 5},{i}\\n" for i in range(60)))
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["fit", "data.csv", "--target", "3", "--kernel", "matern32", "--test-fraction", "0.5"]) == 0
    unused = {name for name in there - loaded if not name.startswith("fastard._numba.elementary.")}  # a part of others
    assert len(there) > 15 and not unused, unused
    with _warmup.compiling_beside("matern32") as child:
        print(child)
    """
    assert run_copy(site, "os.chdir(os.path.dirname(os.environ['SITE']))\n" + textwrap.dedent(script)) == "None\n"


def test_the_process_beside_ends_with_the_command(place, several_cores):
    started = []

    def command():
        with _warmup.compiling_beside("rbf") as child:
            started.append(child)
            assert child.poll() is None
            raise LookupError

    with pytest.raises(LookupError):
        command()
    assert started[0].poll() is not None
    with _warmup.compiling_beside("rbf") as child:
        child.stdin.close()  # as when this process is killed
        assert child.wait(60) == 1


@pytest.mark.parametrize("why", ["one thread", "one core", "no cache", "no Python", "frozen", "cannot be started"])
def test_nothing_is_compiled_beside_where_it_would_not_help(place, several_cores, monkeypatch, why):
    if why == "one core":
        monkeypatch.setattr(_warmup, "default_threads", lambda: 1)
    elif why == "no cache":
        monkeypatch.setattr(_cache, "places", list)
    elif why == "no Python":
        monkeypatch.setattr(sys, "executable", "/usr/bin/true")
    elif why == "frozen":
        monkeypatch.setattr(sys, "frozen", True, raising=False)
    elif why == "cannot be started":
        monkeypatch.setattr(sys, "executable", str(place / "python"))
    with _warmup.compiling_beside("rbf", 1 if why == "one thread" else None) as child:
        assert child is None
