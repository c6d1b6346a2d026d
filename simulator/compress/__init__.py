"""What makes work skippable: kernel decomposition, ternary codes, pruning, detectors, and the size of what is left."""

from simulator.compress.coding import CODINGS, bitmap_bits, run_length_bits, two_level_bits
from simulator.compress.decompose import captured_energy, decompose, recompose
from simulator.compress.detector import (
    Detector,
    calibrate,
    detect,
    detector_weights,
    quantise_shift,
    recall,
    select,
    sparse_projection,
)
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
    "Detector",
    "bitmap_bits",
    "calibrate",
    "captured_energy",
    "decompose",
    "decompose_conv",
    "decomposed_weights",
    "detect",
    "detector_weights",
    "fold_scales",
    "hybrid_quantise",
    "keep_largest",
    "least_squares_scale",
    "prune",
    "quantise_shift",
    "real_values",
    "recall",
    "recompose",
    "run_length_bits",
    "select",
    "sparse_projection",
    "ternarise",
    "ternary_weights",
    "two_level_bits",
    "weight_bits",
]
