"""Writing a file such that an earlier one of that name stays whole until the new one is."""

import contextlib
import errno
import os
import secrets
import shutil
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

if sys.platform != "win32":
    import fcntl


def replace_file(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Write a file whole or not at all: a full disk, or an end half-way, leaves an earlier one as it was.

    The earlier one's mode, and a link to it, stay, and one that may not be written is not replaced. What is no file, a pipe
    say, is written to directly. An ``OSError`` names ``path``.
    """
    try:
        if os.path.exists(path) and not os.path.isfile(path):  # before links are followed: those of a pipe lead nowhere
            with open(path, "wb") as special:
                write(special)
            return
        target = Path(path).resolve()
        if target.exists() and not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        _clear_abandoned(target)
        file, unfinished = _create_unfinished(target)
        try:
            with file:
                if target.exists():
                    shutil.copymode(target, unfinished)
                write(file)
                file.flush()
                if sys.platform != "win32":
                    unfinished.replace(target)  # while it is locked
            if sys.platform == "win32":  # which renames no open file
                unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        if error.errno is None:
            raise
        raise type(error)(error.errno, error.strerror, str(path)) from error


def _unfinished_names(target: Path) -> str:
    """How the names of the files begin that are to become ``target``; short, however long its own name is."""
    return f".fastard-{zlib.crc32(os.fsencode(target.name)):08x}-"


def _create_unfinished(target: Path) -> tuple[BinaryIO, Path]:
    """A new file to become ``target``, locked as long as it is open, and so as long as its process lives."""
    while True:
        path = target.with_name(f"{_unfinished_names(target)}{secrets.token_hex(8)}.unfinished")
        file = path.open("xb")
        try:
            if sys.platform != "win32":
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # somebody clears away what nobody has locked, this one included
            file.close()
            path.unlink(missing_ok=True)
            continue
        except OSError:  # a file system without locks, where nobody clears away anything
            return file, path
        if path.exists():
            return file, path
        file.close()  # cleared away before it was locked


def _clear_abandoned(target: Path) -> None:
    """Remove what killed processes have left of their attempts to write ``target``: nobody holds its lock any more.

    Windows has no such lock; there it stays.
    """
    if sys.platform == "win32":
        return
    with contextlib.suppress(OSError):
        for name in os.listdir(target.parent):
            if not (name.startswith(_unfinished_names(target)) and name.endswith(".unfinished")):
                continue
            with contextlib.suppress(OSError):  # locked, gone, or another user's
                path = target.with_name(name)
                descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    path.unlink()
                finally:
                    os.close(descriptor)
