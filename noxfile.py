#!/usr/bin/env -S uv run --script
# /// script
# dependencies = ["nox>=2025.2.9"]
# ///
"""Sessions for contributors; `nox` alone runs lint and tests. `.ci/run` does all of it in fresh environments."""

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
    """Programs that use it through other libraries, and coroutines in the place of threads."""
    session.install(".[test,integration]")
    clients = "tests/test_benchmarks.py::test_clients_regrets_are_compared"
    session.run("pytest", "tests/test_sklearn_clients.py", "tests/test_surroundings.py", clients, *session.posargs)


@nox.session(default=False)
def torch(session: nox.Session) -> None:
    """GPyTorch and BoTorch."""
    session.install(".[torch]", "botorch", "pytest")
    session.run("pytest", "tests/test_gpytorch.py", "tests/test_botorch.py", "tests/test_botorch_fitting.py", *session.posargs)
    session.run("pytest", "tests/test_docs.py", "tests/test_benchmarks.py", "-k", "gpytorch or Fit")


@nox.session(default=False)
def oldest(session: nox.Session) -> None:
    """The oldest scikit-learn that is supported."""
    session.install(".[test]", "scikit-learn==1.5.*")
    session.run("pytest", "tests/test_sklearn.py", *session.posargs)


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
