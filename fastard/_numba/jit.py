"""How fastard compiles: everything compiled releases the GIL, is cached on disk where a writable place exists, and divides as
NumPy does."""

from collections.abc import Callable
from typing import Any

from numba import config, njit, types
from numba.core import cgutils
from numba.core.imputils import lower_builtin
from numba.core.typing import signature
from numba.core.typing.templates import AbstractTemplate, infer_global

from fastard._numba import symbols
from fastard._numba.cache import Cache

# Products and sums may become fused multiply-adds. `reassoc` is left out: it folds the rounding trick in `exp` away, and lets
# the order of a sum depend on what else was compiled.
EXACT = {"contract", "nsz", "arcp"}

# Functions of one number, called in the innermost loops: LLVM vectorises the loop only when they are part of it.
INLINE: dict[str, Any] = {"error_model": "numpy", "fastmath": EXACT, "forceinline": True}


# What makes an array in compiled code. Who calls none of these has none to free, and is compiled without Numba's counting of
# references: two atomic operations for every slice of every row. Numba refuses to compile what makes an array in another way.
_MAKERS = frozenset({"empty", "zeros"})


class _Checked(Cache):
    """The cache of a function that returns no array: one returned uncounted would be freed while it is in use."""

    def save_overload(self, sig: Any, data: Any) -> None:
        result = data.signature.return_type
        parts = (result, *getattr(result, "types", ()))
        assert not any(isinstance(part, types.Buffer) for part in parts), "let it write into an array of its caller's"
        super().save_overload(sig, data)


def jit(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Compile ``function`` lazily, without the GIL, cached."""
    if function is None:
        return lambda f: jit(f, **options)
    counts = not _MAKERS.isdisjoint(function.__code__.co_names)
    own = {"nogil": True, "error_model": "numpy", "fastmath": EXACT, "no_cfunc_wrapper": True, "_nrt": counts}
    options = {**own, **options}
    compiled: Any = njit(**options)(function)
    if not config.DISABLE_JIT:  # else it is the function of Python
        compiled._cache = _Checked(compiled)  # in the place of Numba's own
    return compiled


def separate(function: Callable[..., Any]) -> Any:
    """`jit` for a function whose machine code its callers share, instead of a copy in each: for more than a few dozen
    instructions."""
    dispatcher = jit(function)
    if config.DISABLE_JIT:
        return dispatcher
    name = f"{function.__module__}.{function.__qualname__}"
    symbols.register(name, dispatcher)

    def call(*arguments: Any) -> Any:
        return dispatcher(*arguments)

    call.compile = dispatcher.compile  # type: ignore[attr-defined]  # what `parallel_call_watched` asks for

    def typed(*arguments: Any) -> Any:
        return symbols.compiled_for(dispatcher, arguments).signature

    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = context.call_conv.get_function_type(signature.return_type, signature.args)
        there = cgutils.get_or_insert_function(builder.module, kind, symbols.provide(name, signature.args))
        return _called(context, builder, there, signature, args)

    return _compilable(call, typed, lower)


def caller_at(*argument_types: Any) -> Any:
    """For compiled code, ``call(address, ...)`` of a function that takes these types and returns nothing."""

    def call(address: int, *arguments: Any) -> None:
        raise NotImplementedError("compiled code only")

    def typed(*_: Any) -> Any:
        return signature(types.none, types.int64, *argument_types)

    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = context.call_conv.get_function_type(types.none, argument_types)
        there = builder.inttoptr(args[0], kind.as_pointer())
        return _called(context, builder, there, signature.replace(args=argument_types), args[1:])

    return _compilable(call, typed, lower)


def _compilable(call: Any, typed: Callable[..., Any], lower: Callable[..., Any]) -> Any:
    """Teach Numba what a call of this function is."""

    class Template(AbstractTemplate):
        key = call

        def generic(self, args: Any, kws: Any) -> Any:
            return typed(*(types.unliteral(argument) for argument in args))

    infer_global(call, types.Function(Template))
    lower_builtin(call, types.VarArg(types.Any))(lower)
    return call


def _called(context: Any, builder: Any, function: Any, signature: Any, args: Any) -> Any:
    status, result = context.call_conv.call_function(builder, function, signature.return_type, signature.args, args)
    with cgutils.if_unlikely(builder, status.is_error):
        context.call_conv.return_status_propagate(builder, status)
    return result
