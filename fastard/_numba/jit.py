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
from fastard._numba.compiler import ColdCompiler, Compiler, PartCompiler

# Products and sums may become fused multiply-adds. `reassoc` is left out: it folds the rounding trick in `exp` away, and lets
# the order of a sum depend on what else was compiled.
EXACT = {"contract", "nsz", "arcp"}

_OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": EXACT, "no_cfunc_wrapper": True}

# Functions of one number, called in the innermost loops: LLVM vectorises the loop only when they are part of it.
INLINE: dict[str, Any] = {**_OPTIONS, "forceinline": True}


def jit(function: Callable[..., Any] | None = None, *, cold: bool = False, **options: Any) -> Any:
    """Compile ``function`` lazily, without the GIL, cached: for what Python calls. ``cold``: LLVM need not try hard."""
    if function is None:
        return lambda f: jit(f, cold=cold, **options)
    options = {**_OPTIONS, **_counting(function), "nogil": True, **options}
    compiled: Any = njit(pipeline_class=ColdCompiler if cold else Compiler, **options)(function)
    if not config.DISABLE_JIT:  # else it is the function of Python
        compiled._cache = Cache(compiled)  # in the place of Numba's own
    return compiled


# What makes an array in compiled code. Who calls none of these has none to free, and is compiled without Numba's counting of
# references: two atomic operations for every slice of every row, and a third of LLVM's work. Numba refuses to compile what
# makes an array in another way, and our compiler what returns one: uncounted, it would be freed while it is in use.
_MAKERS = frozenset({"empty", "zeros"})


def _counting(function: Callable[..., Any]) -> dict[str, Any]:
    return {"_nrt": not _MAKERS.isdisjoint(function.__code__.co_names)}


def part(function: Callable[..., Any]) -> Any:
    """A function that becomes part of its compiled callers, which alone are made machine code and cached; Python calls it as
    it stands."""
    if config.DISABLE_JIT:
        return function
    options = {**_OPTIONS, **_counting(function)}
    dispatcher: Any = njit(no_cpython_wrapper=True, pipeline_class=PartCompiler, **options)(function)
    compiler, results = dispatcher._compiler, {}

    def typed(*arguments: Any) -> Any:
        if arguments not in results:
            results[arguments] = compiler.compile(arguments, None)
        return results[arguments].signature

    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        compiled = results[signature.args]
        context.add_linking_libs([compiled.library])
        return _called(context, builder, context.declare_function(builder.module, compiled.fndesc), signature, args)

    return _compilable(function, typed, lower)


def separate(function: Callable[..., Any] | None = None, *, entry: bool = False, cold: bool = False) -> Any:
    """`jit` for a function whose machine code its callers share, instead of a copy in each: for more than a few dozen
    instructions. ``entry``: Python calls it too."""
    if function is None:
        return lambda f: separate(f, entry=entry, cold=cold)
    dispatcher = jit(function, cold=cold, no_cpython_wrapper=not entry)
    if config.DISABLE_JIT:
        return dispatcher
    name = f"{function.__module__}.{function.__qualname__}"
    symbols.register(name, dispatcher)

    def call(*arguments: Any) -> Any:
        assert entry, f"{name} is called by compiled code only"
        return dispatcher(*arguments)

    def address(argument_types: Any) -> int:
        return symbols.address(symbols.compiled_for(dispatcher, argument_types))

    def is_cached(argument_types: Any) -> bool:
        return bool(dispatcher._cache.holds(argument_types, dispatcher.targetctx))

    call.compile = dispatcher.compile  # type: ignore[attr-defined]  # what `parallel_call_watched` asks for
    call.address = address  # type: ignore[attr-defined]  # for `caller_at`
    call.is_cached = is_cached  # type: ignore[attr-defined]  # for `compiling_beside`

    def typed(*arguments: Any) -> Any:
        return symbols.compiled_for(dispatcher, arguments).signature

    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = context.call_conv.get_function_type(signature.return_type, signature.args)
        there = cgutils.get_or_insert_function(builder.module, kind, symbols.provide(name, signature.args))
        return _called(context, builder, there, signature, args)

    return _compilable(call, typed, lower)


# Types of C-contiguous arrays, as `caller_at` takes them.
VECTOR, MATRIX, CUBE = (types.Array(types.float64, dimensions, "C") for dimensions in (1, 2, 3))

INTEGERS = types.Array(types.int64, 1, "C")


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
