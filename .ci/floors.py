"""Print the oldest release of every dependency that pyproject.toml allows, as pip's pins: ``numba==0.59.*`` and so on.

pip install '.[test]' $(python .ci/floors.py sklearn)    # dependencies, and those of the extras that are named
"""

import re
import sys
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def floors(extras):
    """Pins of the dependencies and of the named extras', without the package itself."""
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    requirements = project["dependencies"] + [line for extra in extras for line in project["optional-dependencies"][extra]]
    found = (re.fullmatch(r"([\w.-]+)>=([\d.]+)", line) for line in requirements)
    return [f"{match[1]}=={match[2]}.*" for match in found if match]


if __name__ == "__main__":
    print(*floors(sys.argv[1:]))
