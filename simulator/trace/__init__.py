"""Traces: what is computed (operators) on what is known of the data (tensors), and their file."""

from simulator.trace.attention import Attended, Attention
from simulator.trace.embedding import EmbeddingBag
from simulator.trace.file import list_traces, load_trace, save_trace
from simulator.trace.operator import OPERATORS, Conv2d, Linear, MatMul, Operator, register
from simulator.trace.rowwise import Rowwise
from simulator.trace.selection import LeftOut, not_run, require_types, without
from simulator.trace.sparse_product import SpMM
from simulator.trace.tensor import DensityTensor, MaskTensor, Tensor, ValueTensor, quantise
from simulator.trace.trace import Trace

__all__ = [
    "OPERATORS",
    "Attended",
    "Attention",
    "Conv2d",
    "DensityTensor",
    "EmbeddingBag",
    "LeftOut",
    "Linear",
    "MaskTensor",
    "MatMul",
    "Operator",
    "Rowwise",
    "SpMM",
    "Tensor",
    "Trace",
    "ValueTensor",
    "list_traces",
    "load_trace",
    "not_run",
    "quantise",
    "register",
    "require_types",
    "save_trace",
    "without",
]
