#!/usr/bin/env -S uv run --script
# /// script
# dependencies = ["nox>=2025.2.9"]
# ///
"""Sessions for contributors; `nox` alone runs lint and tests. `.ci/run` does all of it in fresh environments."""

from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"


@nox.session
def lint(session: nox.Session) -> None:
    """Style and types."""
    session.install(".", *nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), "dev"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("codespell", *session.run("git", "ls-files", external=True, silent=True).split())


@nox.session
def tests(session: nox.Session) -> None:
    """All tests of the library itself."""
    session.install(".[test]")
    session.run("pytest", *session.posargs)


@nox.session(default=False)
def integration(session: nox.Session) -> None:
    """Programs that use it through other libraries, those that compute the same, and coroutines in the place of threads."""
    session.install(".[test,integration]")
    clients = "tests/test_benchmarks.py::test_clients_regrets_are_compared"
    files = [
        f"tests/test_{name}.py"
        for name in ("sklearn_clients", "surroundings", "bayes", "jax", "xla", "pymc", "gpboost", "libkriging")
    ]
    session.run("pytest", *files, clients, *session.posargs)


@nox.session(default=False)
def torch(session: nox.Session) -> None:
    """GPyTorch and BoTorch."""
    session.install(".[torch]", "botorch[fully-bayesian]", "pytest")
    names = "gpytorch", "conversion", "botorch", "botorch_fitting", "botorch_fully_bayesian"
    files = [f"tests/test_{name}.py" for name in names]
    session.run("pytest", *files, *session.posargs)
    session.run("pytest", "tests/test_docs.py", "tests/test_benchmarks.py", "-k", "gpytorch or Fit or Saasbo")


def floors(session: nox.Session, *extras: str) -> list[str]:
    """The oldest dependencies that pyproject.toml allows, as pins."""
    return session.run("python", ".ci/floors.py", *extras, silent=True).split()


@nox.session(default=False)
def oldest(session: nox.Session) -> None:
    """The oldest dependencies that are supported, all at once: ten minutes on two cores, half of it compiling."""
    session.install(".[test]", *floors(session, "sklearn"))
    session.run("pytest", "-m", "not integration and not process and not benchmarks", *session.posargs)
    session.run("pytest", "tests/test_sklearn.py", "tests/test_cluster.py")


@nox.session(default=False)
def oldest_torch(session: nox.Session) -> None:
    """The oldest PyTorch and GPyTorch that are supported, with the other oldest dependencies."""
    session.install(".[torch]", "pytest", *floors(session, "torch"))
    session.run("pytest", "tests/test_gpytorch.py", *session.posargs)


@nox.session(default=False)
def nightly_sklearn(session: nox.Session) -> None:
    """scikit-learn's nightly build, as the scientific Python projects publish it."""
    session.install(".[test]")
    nightly = "https://pypi.anaconda.org/scientific-python-nightly-wheels/simple"
    session.run("python", "-m", "ensurepip", silent=True)
    session.run("python", "-m", "pip", "install", "--pre", "--upgrade", "--extra-index-url", nightly, "scikit-learn")
    session.run("pytest", "tests/test_sklearn.py", "tests/test_sklearn_agreement.py", *session.posargs)


@nox.session(default=False)
def candidate_numba(session: nox.Session) -> None:
    """Numba's newest release or release candidate."""
    session.install(".[test]")
    session.run("python", "-m", "ensurepip", silent=True)
    session.run("python", "-m", "pip", "install", "--pre", "--upgrade", "numba", "llvmlite")
    session.run("pytest", *session.posargs)


@nox.session(default=False)
def build(session: nox.Session) -> None:
    """The wheel and the sdist, in dist/: their metadata, and the wheel in a fresh environment."""
    session.install("build", "twine")
    for old in Path("dist").glob("fastard-*"):
        old.unlink()
    session.run("python", "-m", "build")
    built = [str(path) for path in Path("dist").glob("fastard-*")]
    session.run("twine", "check", "--strict", *built)
    session.install(*(path for path in built if path.endswith(".whl")))
    session.chdir(session.create_tmp())  # not where the source tree is
    session.run("fastard", "info")
    session.run("python", "-c", "import fastard; assert fastard.load and fastard.fit")


@nox.session(default=False)
def docs(session: nox.Session) -> None:
    """The site, in docs/_build/html; a warning is an error. With `-- torch` the example that needs BoTorch runs too."""
    torch = "torch" in session.posargs
    session.install(".[docs,torch]" if torch else ".[docs]", *(["botorch"] if torch else []))
    session.run("python", "-m", "sphinx", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html")


@nox.session(default=False)
def benchmarks(session: nox.Session) -> None:
    """That asv finds every benchmark."""
    session.install(".[sklearn]", *nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), "dev"))
    session.run("asv", "check", "--python=same")


if __name__ == "__main__":
    nox.main()
