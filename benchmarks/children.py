"""Fresh interpreters, for what can happen only once in a process."""

import os
import subprocess
import sys


def output_of(code: str, **environment: str) -> str:
    """What ``code`` prints in a new process of this Python, with further environment variables."""
    child = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if child.returncode:
        raise RuntimeError(child.stderr)
    return child.stdout
