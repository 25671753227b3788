"""Writing a file such that an earlier one of that name stays whole until the new one is."""

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of ``path`` once all is written; after any exception nothing has changed.

    A symbolic link stays one, an earlier file's mode is kept, and a file that may not be written is not replaced. What is no
    file, a pipe say, is written to directly.

    Raises
    ------
    OSError
        With ``path`` as its file name, whatever the name of the unfinished file.
    """
    try:
        if os.path.exists(path) and not os.path.isfile(path):  # before links are followed: those of a pipe lead nowhere
            with open(path, "wb") as file:
                yield file
            return
        target = Path(path).resolve()
        if target.exists() and not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        unfinished = target.with_name(f".{secrets.token_hex(8)}.unfinished")
        try:
            with unfinished.open("xb") as file:
                if target.exists():
                    shutil.copymode(target, unfinished)
                yield file
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        if error.errno is None:
            raise
        raise type(error)(error.errno, error.strerror, str(path)) from error
