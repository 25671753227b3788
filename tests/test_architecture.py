"""The rooms of the package stand above one another: imports go down only; docs/architecture.md has the picture."""

import ast

import pytest
from conftest import ROOT

import fastard

PACKAGE = ROOT / "fastard"

# From the top down. A room imports what stands below it; files of one room import each other without a circle.
ROOMS = [
    "__main__",
    "_cli",
    "sklearn",
    "gpytorch",
    "jax",
    "pymc",
    "__init__",
    "_warmup",
    "_bayes",
    "_vecchia",
    "_training",
    "_model",
    "_objectives",
    "_parameters",
    "_progress",
    "_engine",
    "_engine/loops",
    "_config",
    "_validation",
    "_blas",
    "kernels",
    "exceptions",
    "_numba",
    "_arrays",
    "_files",
    "_limits",
    "_patching",
    "_text",
    "_version",
    "_xla",
]
INTEGRATIONS = ["sklearn", "gpytorch", "jax", "pymc"]
OPTIONAL = {"sklearn", "torch", "gpytorch", "botorch", "linear_operator", "pandas", "pyarrow", "matplotlib", "rich"} | {
    "nutpie",
    "arviz",
    "jax",
    "pymc",
    "pytensor",
    "numpyro",
}
COMPILED = ["_engine", "_engine/loops", "kernels", "_numba"]  # who may import compiled code
# Who else than `_validation` raises ValueError or TypeError, and about what.
RAISES = {
    "sklearn/regressor": "predict_gradient has no counterpart in scikit-learn, which checks what its own methods are given",
    "sklearn/recognition": "explain of what is no kernel of scikit-learn's",
    "gpytorch/explanation": "explain of what is no model of GPyTorch's",
    "_model/npz": "a file's contents are checked as they are read",
    "_model/storage": "a file's contents are checked as they are read",
    "_vecchia/storage": "a file's contents are checked as they are read",
    "_bayes/storage": "a file's contents are checked as they are read",
    "_numba/cache": "a file of the cache that is old or damaged; caught where it is read",
}
FILES = {path.relative_to(PACKAGE).with_suffix("").as_posix(): path for path in PACKAGE.rglob("*.py")}


def room_of(name):
    """The room of a file: the longest that is its own name or a folder above it."""
    own = name.removesuffix("/__init__")
    return max((room for room in ROOMS if own == room or own.startswith(f"{room}/")), key=len)


def imports(path, *, at_the_top=False):
    """Full names of modules that a file imports, lazily too unless ``at_the_top``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if at_the_top else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                own = inner.removeprefix("fastard.").replace(".", "/")
                is_module = inner.startswith("fastard.") and bool({own, f"{own}/__init__"} & FILES.keys())
                yield inner if is_module else node.module


def own_imports(name):
    """The files of the package that a file imports."""
    for module in imports(FILES[name]):
        if module == "fastard" or module.startswith("fastard."):
            inner = module.removeprefix("fastard").lstrip(".").replace(".", "/") or "__init__"
            yield inner if inner in FILES else f"{inner}/__init__"


def test_public_classes_are_where_they_are_public():
    """So no move changes a pickle."""
    for name in fastard.__all__:
        public = getattr(fastard, name)
        if isinstance(public, type):
            assert public.__module__ in ("fastard", "fastard.kernels", "fastard.exceptions"), name
    sklearn = pytest.importorskip("fastard.sklearn")
    assert sklearn.GaussianProcessRegressor.__module__ == "fastard.sklearn"


def test_every_file_has_a_room():
    for name in FILES:
        assert room_of(name) in ROOMS


def test_imports_go_down():
    for name in FILES:
        own = room_of(name)
        for other in own_imports(name):
            below = room_of(other)
            assert ROOMS.index(below) >= ROOMS.index(own), f"{name} imports {other}, which stands above it"
            assert not (own in INTEGRATIONS and below in INTEGRATIONS and own != below), f"{name} imports {other}"


def test_no_circle():
    finished, open_now = set(), []

    def visit(name):
        assert name not in open_now, " imports ".join([*open_now[open_now.index(name) :], name])
        if name in finished or name.endswith("__init__"):  # a package's face hands names on
            return
        open_now.append(name)
        for other in own_imports(name):
            visit(other)
        finished.add(open_now.pop())

    for name in FILES:
        visit(name)


def test_compiled_code_is_the_engines():
    """Above it, only constants of the processor, the cache's state and the pool's Python side are imported."""
    compiled = {"_numba/jit", "_numba/elementary", "_numba/microkernel", "_numba/atomics"}
    for name in FILES:
        if room_of(name) not in COMPILED:
            for other in own_imports(name):
                assert other not in compiled, f"{name} imports {other}"
                assert room_of(other) != "_engine/loops", f"{name} imports {other}"


def test_optional_libraries_are_imported_where_they_are_used():
    for name, path in FILES.items():
        if room_of(name) not in [*INTEGRATIONS, "_xla"]:  # which is imported where JAX is used
            found = {module.partition(".")[0] for module in imports(path, at_the_top=True)}
            assert not found & OPTIONAL, f"{name} imports {found & OPTIONAL}"


def test_public_and_private_are_told_by_the_name():
    """Public modules are these; all others have an underscore somewhere in their path, or are an integration's own."""
    for name in FILES:
        if room_of(name) not in INTEGRATIONS and name not in ("__init__", "__main__", "kernels", "exceptions"):
            assert any(part.startswith("_") for part in name.removesuffix("/__init__").split("/")), name


def test_user_errors_are_raised_in_validation():
    """What cannot be so inside is asserted; numerical failures have their own classes."""
    found = set()
    for name, path in FILES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise):
                raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
                if isinstance(raised, ast.Name) and raised.id in ("ValueError", "TypeError"):
                    found.add(name)
    assert {name for name in found if room_of(name) != "_validation"} == set(RAISES)
