"""What makes work skippable: kernel decomposition, ternary codes, pruning, and the size of what is left."""

from simulator.compress.coding import CODINGS, bitmap_bits, run_length_bits, two_level_bits
from simulator.compress.decompose import captured_energy, decompose, recompose
from simulator.compress.hybrid import (
    decompose_conv,
    decomposed_weights,
    fold_scales,
    hybrid_quantise,
    real_values,
    ternary_weights,
)
from simulator.compress.prune import keep_largest, prune
from simulator.compress.size import weight_bits
from simulator.compress.ternary import least_squares_scale, ternarise

__all__ = [
    "CODINGS",
    "bitmap_bits",
    "captured_energy",
    "decompose",
    "decompose_conv",
    "decomposed_weights",
    "fold_scales",
    "hybrid_quantise",
    "keep_largest",
    "least_squares_scale",
    "prune",
    "real_values",
    "recompose",
    "run_length_bits",
    "ternarise",
    "ternary_weights",
    "two_level_bits",
    "weight_bits",
]
