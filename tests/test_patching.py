"""Replacing methods of somebody else's class for a while: the part that fastard.sklearn and fastard.gpytorch share."""

import sys
import threading

import pytest
from helpers import at_opcode, interrupt

from fastard import _patching
from fastard._patching import Patch


class Theirs:
    def run(self):
        return "theirs"


def run(self):
    return "ours"


def added(self):
    return "added"


THEIRS = Theirs.run
PATCH = Patch(Theirs, {"run": run, "added": added})


def use_once():
    with PATCH.applied():
        assert (Theirs().run(), Theirs().added()) == ("ours", "added")


def is_as_before():
    return Theirs.run is THEIRS and not hasattr(Theirs, "added")


def test_nested_and_after_an_error():
    with PATCH.applied():
        use_once()
        assert Theirs.run is run
    with pytest.raises(ZeroDivisionError), PATCH.applied():
        1 / 0  # noqa: B018
    assert is_as_before()


def test_what_was_found_is_put_back(monkeypatch):
    def wrapper(self):
        return THEIRS(self)

    monkeypatch.setattr(Theirs, "run", wrapper)
    use_once()
    assert Theirs.run is wrapper


def test_for_good():
    try:
        use_once()
        PATCH.apply_for_good()
        use_once()
        assert Theirs.run is run
    finally:
        Theirs.run = THEIRS
        del Theirs.added
    with PATCH.applied():
        PATCH.apply_for_good()
    try:
        assert Theirs.run is run
    finally:
        Theirs.run = THEIRS
        del Theirs.added
    use_once()
    assert is_as_before()


def test_a_signal_handler_that_patches_too_waits_for_nobody():
    for opcode in range(1000):
        if not at_opcode(opcode, use_once, use_once, (_patching.__file__,)):
            break
        assert is_as_before()
    assert opcode > 100


def test_an_interrupt_at_any_moment():
    """It may come where nothing has been undone yet, but who comes next undoes it."""
    for opcode in range(1000):
        try:
            if not at_opcode(opcode, use_once, interrupt, (_patching.__file__,)):
                break
        except KeyboardInterrupt:
            pass
        use_once()
        assert is_as_before(), opcode
    assert opcode > 100


def test_many_threads_at_once():
    errors = []
    interval = sys.getswitchinterval()

    def work():
        try:
            for _ in range(500):
                with PATCH.applied():
                    pass
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not errors
    assert is_as_before()
