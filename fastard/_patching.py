"""Replacing methods of another library's class, and putting them back."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any


class _Stay:
    """One ``with``, until it is left, or an interrupt has ended it anywhere."""


class Patch:
    """Puts ``methods`` into ``cls``, a class or a module, while a ``with patch.applied()`` is under way in any thread.

    There is no lock: a signal's handler or a finaliser may enter one while its own thread is anywhere in here. Instead, who
    has entered or left does what is right for those inside, and again if they have changed meanwhile; so the last one to do
    anything does the right thing.
    """

    def __init__(self, cls: type | ModuleType, methods: dict[str, Any]) -> None:
        self.cls, self.methods = cls, methods
        self._found: dict[str, Any] = {}  # what stood there, None for nothing; a name that is missing stays as it is
        self._inside: dict[weakref.ref[_Stay], None] = {}

    @contextmanager
    def applied(self) -> Iterator[None]:
        stay = _Stay()
        me = weakref.ref(stay)
        try:
            self._inside[me] = None
            self._settle()
            yield
        finally:
            try:
                self._leave(me)
            finally:  # where an interrupt cut that short
                self._leave(me)

    def apply_for_good(self) -> None:
        """Until somebody puts other methods there."""
        self._apply()
        self._found.clear()

    def _leave(self, me: weakref.ref[_Stay]) -> None:
        self._inside.pop(me, None)
        self._settle()

    def _is_wanted(self) -> bool:
        return any(stay() is not None for stay in list(self._inside))

    def _settle(self) -> None:
        while True:
            wanted = self._is_wanted()
            if wanted:
                self._apply()
            else:
                self._restore()
            if self._is_wanted() == wanted:
                return

    def _apply(self) -> None:
        for name, method in self.methods.items():
            present = vars(self.cls).get(name)
            if present is not method:
                self._found[name] = present
                setattr(self.cls, name, method)

    def _restore(self) -> None:
        for name, method in list(self._found.items()):
            if method is not None:
                setattr(self.cls, name, method)
            else:
                with suppress(AttributeError):  # a look first could be outdated
                    delattr(self.cls, name)
