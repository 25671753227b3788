#!/usr/bin/env -S uv run --script
# /// script
# dependencies = ["nox>=2025.2.9"]
# ///
"""Sessions for contributors: nox -s tests, lint, integration, oldest. `.ci/run` does all of it in fresh environments."""

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


@nox.session
def tests(session: nox.Session) -> None:
    """All tests of the library itself."""
    session.install(".[test]")
    session.run("pytest", *session.posargs)


@nox.session(default=False)
def integration(session: nox.Session) -> None:
    """Programs that use it through other libraries."""
    session.install(".[test,integration]")
    session.run("pytest", "tests/test_sklearn_clients.py", "tests/test_surroundings.py", *session.posargs)


@nox.session(default=False)
def oldest(session: nox.Session) -> None:
    """The oldest scikit-learn that is supported."""
    session.install(".[test]", "scikit-learn==1.5.*")
    session.run("pytest", "tests/test_sklearn.py", *session.posargs)


if __name__ == "__main__":
    nox.main()
