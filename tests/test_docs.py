"""Every page of docs/ runs as it stands: its python blocks, one after the other, in an empty folder."""

import re

import pytest
from conftest import SOURCE

PAGES = sorted(page for page in (SOURCE / "docs").glob("*.md") if page.stem != "architecture")  # the how-to pages
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)

pytestmark = pytest.mark.skipif(not PAGES, reason="the pages come with the source only")


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
