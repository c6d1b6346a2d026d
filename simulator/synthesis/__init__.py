"""Masks that behave like real ones: drawn from a few numbers per tensor, which are fitted to real traces."""

from simulator.synthesis.activations import ActivationProfile, draw_activations, fit_activations
from simulator.synthesis.attention import AttentionProfile, draw_attention, fit_attention
from simulator.synthesis.graphs import GraphProfile, fit_graph
from simulator.synthesis.profile import Profile, fit_profile, read_profile, replay
from simulator.synthesis.structured import BlockProfile, GroupProfile, draw_blocks, draw_groups
from simulator.synthesis.weights import WeightProfile, draw_weights, fit_weights

__all__ = [
    "ActivationProfile",
    "AttentionProfile",
    "BlockProfile",
    "GraphProfile",
    "GroupProfile",
    "Profile",
    "WeightProfile",
    "draw_activations",
    "draw_attention",
    "draw_blocks",
    "draw_groups",
    "draw_weights",
    "fit_activations",
    "fit_attention",
    "fit_graph",
    "fit_profile",
    "fit_weights",
    "read_profile",
    "replay",
]
