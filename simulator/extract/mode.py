# mypy: allow-subclassing-any
"""The mode in which a model runs while it is watched: every ATen operator passes here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from typing import Any, Final

from simulator.errors import InputError
from simulator.extract.attention import ATTENTIONS, attend, softmax
from simulator.extract.call import Call, tensors_in
from simulator.extract.draft import Origin
from simulator.extract.elements import HANDLERS as ELEMENTS
from simulator.extract.gathering import HANDLERS as GATHERING
from simulator.extract.gathering import sparse_product
from simulator.extract.kinds import MOVES, READS, VIEWS, macs_of
from simulator.extract.products import HANDLERS as PRODUCTS
from simulator.extract.quantising import is_usable
from simulator.extract.recorder import Recorder
from simulator.extract.report import Kind

torch: Any = import_module("torch")

_Mode: Any = import_module("torch.utils._python_dispatch").TorchDispatchMode
_FunctionMode: Any = import_module("torch.overrides").TorchFunctionMode

__all__ = ["Exits", "Watch"]

_HANDLERS = {
    **PRODUCTS,
    **ELEMENTS,
    **GATHERING,
    **dict.fromkeys(ATTENTIONS, attend),
    **dict.fromkeys(("softmax", "_softmax", "_safe_softmax"), softmax),
}


_RECURRENT = frozenset(("lstm", "gru", "rnn_tanh", "rnn_relu"))
"""Done step by step, each step in operators, unless oneDNN does it all at once."""


class Exits(_FunctionMode):
    """Notes where values leave PyTorch: for Python, which may choose its way by them, or NumPy, which may compute.

    Args:
        recorder: what keeps the operators.

    """

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note a call that hands values out, and do it."""
        if func in _READERS or func in _LEAVERS:
            out = [t for t in tensors_in(args[:1]) if not self._recorder.tensors.place(t).constant]
            if out:
                self._recorder.reads(func.__name__)
            if out and func in _LEAVERS:
                size, octets = (sum(sizes) for sizes in zip(*((t.numel(), t.nbytes) for t in out), strict=True))
                self._recorder.leave("numpy", "products", size, octets, None)
        return func(*args, **(kwargs or {}))


_READERS: Final = (torch.Tensor.tolist,)
_LEAVERS: Final = (torch.Tensor.numpy, torch.Tensor.__array__, torch.Tensor.__dlpack__)


class Watch(_Mode):
    """Hands what is called to the recorder, then calls it.

    Args:
        recorder: what keeps the operators.

    """

    supports_higher_order_operators = True

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder
        self.failure: InputError | None = None
        """What made it stop, should the model catch the exception."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Record a call and do it."""
        if any(not issubclass(kind, torch.nn.Parameter) for kind in types if kind is not torch.Tensor):
            return NotImplemented  # a tensor with ways of its own says first what it does to plain ones
        if isinstance(func, torch._ops.HigherOrderOperator):
            return self._chosen(func, args, kwargs or {})
        call = Call.of(func, args, kwargs or {})
        try:
            origin = self._handled(call)
            if origin is None and not call.is_composite and self._passed_on(call) is None and not _is_view(func):
                self._stored(call)
        except InputError as error:
            self.failure = self.failure or error
            raise
        if origin is None and call.is_composite:
            recurrent = call.op in _RECURRENT
            with self, _without_onednn() if recurrent else nullcontext():
                return func.decompose(*args, **(kwargs or {}))
        constant = self._is_constant(call)
        passed = self._passed_on(call) if origin is None else None
        result = func(*args, **(kwargs or {}))
        if any(tensor.is_nested for tensor in tensors_in(result)):
            raise self._failed("makes nested tensors of strided layout, expected layout=torch.jagged")
        if origin is None:
            origin = passed if passed is not None and _same_elements(call, result) else None
            self._leave(call, result, constant, origin)
        self._made(call, result, constant, origin)
        return result

    def _chosen(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run the branch that `torch.cond` takes; refuse other operators that are made of functions."""
        if func.name() != "cond" or len(args) < 4:
            raise self._failed(f"calls '{func.name()}', which hides the operators within from extraction")
        self.recorder.reads("cond")
        predicate, chosen, other, operands = args[:4]
        with self:
            return (chosen if bool(predicate) else other)(*operands)

    def _failed(self, what: str) -> InputError:
        self.failure = self.failure or InputError(f"{self.recorder.where} {what}")
        return self.failure

    def _handled(self, call: Call) -> Origin | None:
        if not call.name.startswith("aten::") or any(t.is_quantized or not t.numel() for t in call.inputs):
            return None
        if all(tensor.dim() == 0 for tensor in call.inputs):
            return None  # numbers, no tensors
        if any(tensor.layout != torch.strided for tensor in call.inputs):
            return sparse_product(self.recorder, call)
        handler = _HANDLERS.get(call.op)
        if handler is None:
            return None
        if (call.op in ELEMENTS or handler is softmax) and self._is_constant(call):
            return None  # done once, before the chip begins
        return handler(self.recorder, call)

    def _is_constant(self, call: Call) -> bool:
        return all(self.recorder.tensors.place(tensor).constant for tensor in call.inputs)

    def _passed_on(self, call: Call) -> Origin | None:
        """Return where the elements come from, where the call copies them in their order."""
        if call.op not in ("clone", "_to_copy", "alias", "detach", "native_dropout"):
            return None
        return self.recorder.tensors.place(call.inputs[0]).origin

    def _stored(self, call: Call) -> None:
        """Keep where the outputs of operators are zero that only go on into something else."""
        for tensor in call.inputs:
            origin = self.recorder.origin(tensor) if is_usable(tensor) else None
            if origin is not None and origin.draft is not None and "output" not in origin.draft.roles:
                self.recorder.mask("its input", tensor)

    def _leave(self, call: Call, result: Any, constant: bool, origin: Origin | None) -> None:
        if call.op in VIEWS or (_is_view(call.func) and not call.written):
            return
        if call.op in READS:
            if not constant:
                self.recorder.reads(call.op)
            return
        macs = macs_of(call, result)
        if constant and macs == 0:
            return
        made = tensors_in(result) or call.written
        kind: Kind = "products" if macs != 0 else "movement" if call.op in MOVES else "elements"
        size, octets = sum(t.numel() for t in made), sum(t.numel() * t.element_size() for t in made)
        left = self.recorder.leave(call.name, kind, size, octets, macs)
        scores = None if origin is None else origin.weights.scores if origin.weights is not None else origin.scores
        if scores is not None:
            scores.steps.append(left)

    def _made(self, call: Call, result: Any, constant: bool, origin: Origin | None) -> None:
        tensors = self.recorder.tensors
        written = call.written
        for tensor in written:
            tensors.forget(tensor)
            tensors.came(tensor, tensors.place(tensor).constant and constant, origin)
        known = {id(tensors.place(tensor)) for tensor in call.inputs}
        for tensor in tensors_in(result):
            place = tensors.place(tensor, constant)
            if id(place) not in known:
                tensors.came(tensor, constant, origin)


@contextmanager
def _without_onednn() -> Iterator[None]:
    enabled = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(enabled)


def _is_view(func: Any) -> bool:
    returns = func._schema.returns
    return bool(returns) and all(r.alias_info is not None and not r.alias_info.is_write for r in returns)


def _same_elements(call: Call, result: Any) -> bool:
    first, made = call.inputs[:1], tensors_in(result)[:1]
    return bool(
        first and made and first[0].shape == made[0].shape and first[0].is_contiguous() and made[0].is_contiguous()
    )
