"""What makes work skippable: kernel decomposition, ternary codes, pruning, and the size of what is left."""

from simulator.compress.coding import CODINGS, bitmap_bits, run_length_bits, two_level_bits
from simulator.compress.decompose import captured_energy, decompose, recompose
from simulator.compress.hybrid import (
    decompose_conv,
    decomposed_weights,
    fold_scales,
    hybrid_quantise,
    ternary_weights,
)
from simulator.compress.prune import keep_largest, prune
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
    "recompose",
    "run_length_bits",
    "ternarise",
    "ternary_weights",
    "two_level_bits",
]
