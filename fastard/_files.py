"""Writing a file such that an earlier one of that name stays whole until the new one is."""

import errno
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def replace_file(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Write a file whole or not at all: after any exception an earlier one is as it was.

    The earlier one's mode, and a link to it, stay, and one that may not be written is not replaced. What is no file, a pipe
    say, is written to directly.

    Raises
    ------
    OSError
        With ``path`` as its file name, whatever the name of the unfinished file.
    """
    try:
        if os.path.exists(path) and not os.path.isfile(path):  # before links are followed: those of a pipe lead nowhere
            with open(path, "wb") as file:
                write(file)
            return
        target = Path(path).resolve()
        if target.exists() and not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        unfinished = target.with_name(f".{secrets.token_hex(8)}.unfinished")
        try:
            with unfinished.open("xb") as file:
                if target.exists():
                    shutil.copymode(target, unfinished)
                write(file)
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        if error.errno is None:
            raise
        raise type(error)(error.errno, error.strerror, str(path)) from error
