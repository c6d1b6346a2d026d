"""What tests of extraction share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simulator.extract import Extraction, capture
from simulator.trace import Operator, ValueTensor

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'skipper-simulator[torch]'")


def real(tensor: ValueTensor) -> np.ndarray:
    """Integers times their scale."""
    scale = np.reshape(tensor.scale, (-1, *[1] * (len(tensor.shape) - 1)))
    return np.asarray(tensor.values()) * scale


def dequantised(operator: Operator) -> np.ndarray:
    """What the operator computes, in real numbers; the scales of a weight belong to the output channels."""
    if operator.type == "attention":
        maps = [[operator.reference_output(n, h) for h in range(operator.heads)] for n in range(operator.images)]
        return np.array(maps)
    operands = [tensor for role, tensor in operator.tensors.items() if role != "output"]
    scale = np.asarray(operands[1].scale)
    if scale.ndim:
        scale = scale.reshape(-1, 1, 1) if operator.type == "conv2d" else scale
    return operator.reference() * (operands[0].scale * scale)


def near(found: Any, expected: Any, share: float = 0.03) -> bool:
    """Tell whether two arrays differ by no more than a share of the largest magnitude."""
    expected = expected.detach().numpy() if isinstance(expected, torch.Tensor) else np.asarray(expected)
    return bool(np.abs(np.asarray(found).reshape(expected.shape) - expected).max() <= share * np.abs(expected).max())


def one(found: Extraction, kind: str = "") -> Operator:
    """The only operator, of a kind or of all."""
    (operator,) = [each for each in found.trace.operators if kind in ("", each.type)]
    return operator


def run(model: Any, *inputs: Any, **options: Any) -> Extraction:
    """Extract from a module, or from a function that is made one."""
    if not isinstance(model, torch.nn.Module):
        function = model

        class Function(torch.nn.Module):
            def forward(self, *given: Any) -> Any:
                return function(*given)

        model = Function()
    return capture(model, inputs, **options)


def left(found: Extraction) -> dict[str, Any]:
    """What is not captured, by operation."""
    return {each.op.removeprefix("aten::"): each for each in found.not_captured}


def counted(model: Any, *inputs: Any) -> int:
    """Multiply-accumulates as PyTorch's own counter sees them."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with (
            torch.no_grad(),
            sdpa_kernel(SDPBackend.MATH),
            torch.backends.mkldnn.flags(enabled=False),
            FlopCounterMode(display=False) as counter,
        ):
            model.eval()(*inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return counter.get_total_flops() // 2
