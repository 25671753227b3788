"""The README and every how-to page run as they stand, block after block in an empty folder; so do docstrings' examples."""

import contextlib
import doctest
import importlib
import re

import pytest
from conftest import SOURCE

import fastard

# The how-to pages, and the README, which the installed package does not bring.
PAGES = sorted(page for page in [*(SOURCE / "docs").glob("*.md"), *SOURCE.glob("README.md")] if page.stem != "architecture")
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.mark.skipif(not PAGES, reason="the pages come with the source only")
@pytest.mark.filterwarnings("ignore:The optimal value found")  # scikit-learn's, of an input that does nothing
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_page_runs(page, tmp_path, monkeypatch):
    text = page.read_text(encoding="utf-8")
    blocks = list(BLOCK.finditer(text))
    assert blocks, "a how-to page without code"
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": page.stem}
    for block in blocks:
        blank_lines = "\n" * text.count("\n", 0, block.start(1))  # so that an error names the page's line
        try:
            exec(compile(blank_lines + block[1], str(page), "exec"), namespace)
        except ModuleNotFoundError as error:
            pytest.skip(str(error))


def examples():
    """Docstrings of what is public that hold examples."""
    public = [(name, getattr(fastard, name)) for name in fastard.__all__]
    with contextlib.suppress(ImportError):
        integration = importlib.import_module("fastard.sklearn")
        public += [(f"sklearn.{name}", getattr(integration, name)) for name in integration.__all__]
    finder = doctest.DocTestFinder()  # methods too
    for name, thing in public:
        for test in finder.find(thing, name):
            if test.examples:
                yield pytest.param(test, id=name)


@pytest.mark.filterwarnings("ignore:The optimal value found")
@pytest.mark.parametrize("test", list(examples()))
def test_the_example_is_right(test):
    assert doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test).failed == 0
