"""Fresh interpreters, for what can happen only once in a process."""

import os
import subprocess
import sys
from typing import Any


def output_of(code: str, **environment: str) -> str:
    """What ``code`` prints in a new process of this Python, with further environment variables."""
    child = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if child.returncode:
        raise RuntimeError(child.stderr)
    return child.stdout


class Child:
    """A process that goes on: each line written to it is answered by one line, both after its first, "ready"."""

    def __init__(self, code: str) -> None:
        self._process: Any = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        if self._process.stdout.readline() != "ready\n":
            self.close()
            raise RuntimeError("the child process ended early")

    def ask(self, line: str) -> str:
        self.send(line)
        return self.answer()

    def send(self, line: str) -> None:
        self._process.stdin.write(f"{line}\n")

    def answer(self) -> str:
        return str(self._process.stdout.readline())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
