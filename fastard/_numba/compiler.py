"""Numba's compiler without what nothing of ours needs: the first call waits for it."""

import contextlib
import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
from numba import types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder

# Numba's passes for what our compiled code does without: closures and comprehensions, expressions of whole arrays, functions
# that are inlined before LLVM sees them, loops over tuples of different types, `with` and `raise`.
NOT_NEEDED = {
    "with_lifting",
    "inline_closure_likes",
    "Rewrite dynamic raises",
    "make_function_op_code_to_jit_function",
    "inline_inlinables",
    "find_literally",
    "literal_unroll",
    "LiteralPropagation",
    "inline_overloads",
    "nopython_rewrites",
    "dump_parfor_diagnostics",
    "ir_processing",
}

# Functions beside the operators whose types Numba finds by trying one overload after the other; and those that it would
# compile again for each set of options that a caller is compiled with.
_OF_NUMBERS, _OF_SHAPES = (abs, int, max, min, range), (np.empty, np.zeros)

_signatures: dict[Any, Any] = {}


class _Typing:
    """Numba's typing context, with a memory of what operators make of their operands."""

    def __init__(self, context: Any) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def resolve_function_type(self, function: Any, args: Any, kws: Any) -> Any:
        name = getattr(function, "typing_key", function)
        is_known = getattr(name, "__module__", None) == "_operator" or name in _OF_NUMBERS or name in _OF_SHAPES
        if kws or not is_known:
            return self._context.resolve_function_type(function, args, kws)
        args = tuple(map(types.unliteral, args)) if name in _OF_SHAPES else tuple(args)
        found = _signatures.get((name, args))
        if found is None:
            found = self._context.resolve_function_type(function, args, kws)
            if found is not None:
                _signatures[name, args] = found
        return found


class _Library(JITCodeLibrary):
    """Optimised once, as a whole, and not each function before that."""

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout


class _ColdLibrary(_Library):
    """Optimised a little: what runs in microseconds beside an evaluation."""

    def _optimize_final_module(self) -> None:
        passes, builder = self._codegen._module_pass_manager(opt=1, loop_vectorize=False, slp_vectorize=False)
        passes.run(self._final_module, builder)


class _PartLibrary(_Library):
    """A function for its callers to take in: neither optimised by itself, nor made machine code of."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """The compiler makes a million objects, and little garbage to look for among them."""
    was_enabled = gc.isenabled()
    try:
        gc.disable()
        yield
    finally:
        if was_enabled:
            gc.enable()


class Compiler(CompilerBase):
    """Numba's own, with fewer passes."""

    library_class: type[JITCodeLibrary] = _Library

    def compile_extra(self, func: Any) -> Any:
        with _no_garbage_collection():
            compiled = super().compile_extra(func)
        returned = compiled.signature.return_type
        results = (returned, *getattr(returned, "types", ()))
        assert not any(isinstance(result, types.Buffer) for result in results), "let it write into an array of its caller's"
        return compiled

    def define_pipelines(self) -> list[Any]:
        state = self.state
        passes: Any = DefaultPassBuilder.define_nopython_pipeline(state)
        passes.passes[:] = [(kind, about) for kind, about in passes.passes if kind.name() not in NOT_NEEDED]
        passes.finalize()
        state.typingctx = _Typing(state.typingctx)
        state.library = self.library_class(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()  # or it could not be saved
        return [passes]


class ColdCompiler(Compiler):
    """For what is not worth LLVM's time."""

    library_class = _ColdLibrary


class PartCompiler(Compiler):
    """For `part`."""

    library_class = _PartLibrary

    def define_pipelines(self) -> list[Any]:
        self.state.flags.no_compile = True
        return super().define_pipelines()
