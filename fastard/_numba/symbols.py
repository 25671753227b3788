"""Machine code that stands by itself: compiled once, and called by whatever else is compiled by its symbol or its address.

Numba puts a copy of every function called into the caller and optimises it there again, as often as there are callers.
"""

import hashlib
from typing import Any

from llvmlite import binding as llvm

PREFIX = "fastard:"

_dispatchers: dict[str, Any] = {}
_provided: dict[str, tuple[str, Any]] = {}


def register(name: str, dispatcher: Any) -> None:
    """From now on `provide` knows the function by this name."""
    _dispatchers[name] = dispatcher


def provide(name: str, argument_types: Any) -> str:
    """Compile that function, or load it, and return the symbol by which machine code in this process calls it."""
    compiled = compiled_for(_dispatchers[name], argument_types)
    symbol = f"{PREFIX}{name}:{hashlib.sha256(repr(argument_types).encode()).hexdigest()[:16]}"
    if symbol not in _provided:
        llvm.add_symbol(symbol, address(compiled))
        _provided[symbol] = name, argument_types
    return symbol


def needed(library: Any) -> list[tuple[str, Any]]:
    """What has to be provided, name and types of arguments, before the machine code of this library can be loaded."""
    functions = library._final_module.functions
    return [_provided[f.name] for f in functions if f.is_declaration and f.name.startswith(PREFIX)]


def compiled_for(dispatcher: Any, argument_types: Any) -> Any:
    """Numba's result of compiling it for these types; does so where nobody has before."""
    dispatcher.compile(argument_types)
    return dispatcher.overloads[argument_types]


def address(compiled: Any) -> int:
    """Where its machine code begins, which takes arguments as Numba passes them from one function to another."""
    return int(compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name))
