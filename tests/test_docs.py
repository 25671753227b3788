"""The README, every page's blocks and the gallery run as they stand, in an empty folder; so do docstrings' examples."""

import ast
import contextlib
import doctest
import importlib
import re
import runpy
import warnings

import pytest
from conftest import SOURCE

import fastard

BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)

# What has code of the site's pages, and the README; the installed package does not bring them.
DOCS = SOURCE / "docs"
PAGES = [
    page for page in sorted([*DOCS.glob("*.md"), *SOURCE.glob("README.md")]) if BLOCK.search(page.read_text(encoding="utf-8"))
]
EXAMPLES = sorted((SOURCE / "examples").glob("plot_*.py"))
INTEGRATIONS = ("fastard", "fastard.sklearn", "fastard.gpytorch")


@pytest.mark.skipif(not PAGES, reason="the pages come with the source only")
@pytest.mark.filterwarnings("ignore:The optimal value found")  # scikit-learn's, of an input that does nothing
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # of linear_operator's import
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_page_runs(page, tmp_path, monkeypatch):
    text = page.read_text(encoding="utf-8")
    blocks = list(BLOCK.finditer(text))
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": page.stem}
    for block in blocks:
        blank_lines = "\n" * text.count("\n", 0, block.start(1))  # so that an error names the page's line
        try:
            exec(compile(blank_lines + block[1], str(page), "exec"), namespace)
        except ModuleNotFoundError as error:
            pytest.skip(str(error))


@pytest.mark.skipif(not EXAMPLES, reason="the examples come with the source only")
@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive", "ignore::DeprecationWarning")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem.removeprefix("plot_"))
def test_the_gallery_runs(example, tmp_path, monkeypatch):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    monkeypatch.chdir(tmp_path)
    with pyplot.rc_context(), warnings.catch_warnings():
        try:
            runpy.run_path(str(example), run_name="__main__")
        except ModuleNotFoundError as error:
            pytest.skip(str(error))
        finally:
            figures = [pyplot.figure(number) for number in pyplot.get_fignums()]
            labels = [text for figure in figures for axes in figure.axes for text in (axes.get_xlabel(), axes.get_ylabel())]
            pyplot.close("all")
    assert any(labels), "an example without a picture, or one without labels"


@pytest.mark.skipif(not DOCS.is_dir(), reason="the pages come with the source only")
def test_the_reference_names_all_that_is_public():
    reference = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md"))
    named = set(re.findall(r"^   ([\w.]+)$", reference, re.MULTILINE))
    for module in INTEGRATIONS:
        source = (SOURCE / module.replace(".", "/") / "__init__.py").read_text(encoding="utf-8")
        public = ast.literal_eval(re.search(r"^__all__ = (\[.*?\])", source, re.DOTALL | re.MULTILINE)[1])
        inside = module.removeprefix("fastard").lstrip(".")
        missing = {name if not inside else f"{inside}.{name}" for name in public} - named
        assert missing <= {"NotPositiveDefiniteError"}, "in no list of docs/reference"
    assert "exceptions.NotPositiveDefiniteError" in named


@pytest.mark.skipif(not DOCS.is_dir(), reason="the pages come with the source only")
def test_how_to_pages_have_code():
    listed = re.search(
        r"```\{toctree\}\n:maxdepth: 1\n\n(.*?)```", (DOCS / "how_to.md").read_text(encoding="utf-8"), re.DOTALL
    )
    assert set(listed[1].split()) <= {page.stem for page in PAGES}


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
