"""How the site is built: ``nox -s docs``, or ``python -m sphinx -W -b html docs docs/_build/html`` with the extra ``docs``."""

import os
import re
import warnings
from importlib.util import find_spec

import fastard

os.environ["MPLBACKEND"] = "agg"
warnings.filterwarnings("ignore", category=UserWarning, message=".*non-interactive.*")  # what plt.show() says under agg

project = "fastard"
author = "The fastard developers"
copyright = f"2026, {author}. BSD-3-Clause"  # Sphinx's name for it
version = release = fastard.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "sphinx-mathjax-offline",  # MathJax comes with the pages, so that they are read without the network
]
exclude_patterns = ["_build", "_templates", "gallery/*.ipynb", "gallery/*.py", "gallery/*.json", "gallery/*.zip"]
suppress_warnings = ["config.cache"]

# Pages


def link_gallery(_, page, text):
    """Links to ../examples, which lead somewhere in a clone too, lead to the gallery here."""
    text[0] = re.sub(r"\]\(\.\./examples/(plot_\w+)\.py\)", r"](gallery/\1.rst)", text[0])
    text[0] = text[0].replace("](../examples)", "](gallery/index.rst)")


def hide_signature(_, what, name, thing, options, signature, returned):
    """Of classes that nobody calls: their docstrings say what makes them."""
    is_result = what == "class" and re.search(r"makes?\s+(it|one)\b", (thing.__doc__ or "").partition("\n\n")[0])
    return ("", None) if is_result else None


def skip_fields(_, what, name, thing, skip, options):
    """Fields of named tuples, which the docstrings list."""
    return True if (getattr(thing, "__doc__", None) or "").startswith("Alias for field number") else None


def setup(app):
    """Called by Sphinx."""
    app.connect("source-read", link_gallery)
    app.connect("autodoc-process-signature", hide_signature)
    app.connect("autodoc-skip-member", skip_fields)


myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
myst_links_external_new_tab = False

html_theme = "pydata_sphinx_theme"
html_title = f"fastard {version}"
html_static_path = ["_static"]
html_css_files = ["fastard.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "fastard"},
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "header_links_before_dropdown": 7,
    "navbar_align": "left",
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars = {page: [] for page in ("index", "mathematics", "model", "performance", "comparison")}

# The reference, from the docstrings

autosummary_generate = True
autosummary_imported_members = True
templates_path = ["_templates"]
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
autodoc_typehints = "none"  # the docstrings have the types, and the shapes
autodoc_member_order = "bysource"
default_role = "literal"
toc_object_entries_show_parents = "hide"
if find_spec("gpytorch") is None:  # nothing of fastard.gpytorch can be imported then: its reference is left out
    exclude_patterns.append("reference/gpytorch.md")
    suppress_warnings.append("toc.not_readable")

# The gallery, from ../examples

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    # The example that needs BoTorch is shown, without its output, where there is no BoTorch.
    "filename_pattern": r"/plot_" if find_spec("botorch") else r"/plot_(?!.*botorch)",
    "within_subsection_order": "FileNameSortKey",
    "backreferences_dir": "reference/generated/backreferences",
    "doc_module": ("fastard",),
    "download_all_examples": False,
    "show_memory": False,
    "min_reported_time": 3600,  # times say nothing of a shared machine
    "show_signature": False,
    "remove_config_comments": True,
    "abort_on_example_error": True,
    "matplotlib_animations": False,
    "image_srcset": ["2x"],
}
