# mypy: allow-subclassing-any
"""A low-rank detector to train together with a model. Needs PyTorch (the extra [recipes])."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.compress.detector import WEIGHT_STEP, Detector, calibrate, sparse_projection
from simulator.errors import InputError
from simulator.trace import ValueTensor
from simulator.trace.checks import whole
from simulator.trace.connections import allowed_keys, checked_rule, kept_per_row, per_head
from simulator.trace.detection import limits

torch: Any = import_module("torch")  # an extra: types are checked where it is not installed, too

__all__ = ["LowRankDetector", "select"]

_EXACT = 2**24
"""Up to here float32 holds every whole number."""


class _Round(torch.autograd.Function):
    """Round half to even; gradients pass straight through."""

    @staticmethod
    def forward(_: Any, values: Any) -> Any:
        return torch.round(values)

    @staticmethod
    def backward(_: Any, gradient: Any) -> Any:
        return gradient


class LowRankDetector(torch.nn.Module):
    """S̃ = Q̃·K̃ᵀ with Q̃ = X·P·W̃_Q, K̃ = X·P·W̃_K, rounded as the hardware rounds; W̃_Q and W̃_K are trained.

    Every step holds whole numbers that float32 keeps exactly, so that `export` gives a `Detector` whose scores are
    those of `integers`, bit for bit. Call `calibrate` once before training, at times in between, and at the end.

    Args:
        features: C, of a token.
        heads: H.
        rank: k, 1 to C.
        precision: of the detector, 2, 4 or 8 bits.
        seed: of the projection and of the first weights.
        token_bits: of the tokens, 2 to 16; C · 2^(bits − 1) is at most 2^24.
        causal: query i looks only at the keys 0 … i + S − L.

    Raises:
        InputError: a number out of range.

    Source: DOTA (ASPLOS 2022): trained with L = L_model + λ · L_MSE.

    """

    def __init__(
        self,
        features: int,
        heads: int,
        rank: int,
        precision: int = 4,
        seed: int = 0,
        token_bits: int = 8,
        causal: bool = False,
    ) -> None:
        super().__init__()
        limits(precision)
        drawn = sparse_projection(features, rank, seed)
        heads, self.token_bits = whole(heads, "heads", 1), whole(token_bits, "token_bits", 2)
        if self.token_bits > 16 or features << (self.token_bits - 1) > _EXACT:
            raise InputError(
                f"token_bits is {token_bits}, expected at most 16, and {features} features · 2^(bits−1) ≤ 2^24"
            )
        if rank << (2 * precision - 2) > _EXACT:
            raise InputError(f"rank is {rank}, expected at most {_EXACT >> (2 * precision - 2)} at {precision} bits")
        self.precision, self.causal = precision, causal
        self.register_buffer("projection", torch.tensor(drawn.values().astype(np.float32)))
        self.register_buffer("token_step", torch.tensor(1.0))
        self.register_buffer("projection_shift", torch.tensor(0))
        self.register_buffer("query_shift", torch.zeros(heads, dtype=torch.int64))
        self.register_buffer("key_shift", torch.zeros(heads, dtype=torch.int64))
        generator = torch.Generator().manual_seed(seed)
        for name in ("query_weight", "key_weight"):
            weight = torch.randn(heads, rank, rank, generator=generator) / rank**0.5
            self.register_parameter(name, torch.nn.Parameter(weight))

    def forward(self, tokens: Any, memory: Any = None) -> Any:
        """Return the estimated scores (N, H, L, S), on the scale of the true ones, of real tokens (N, L, C)."""
        return self.scaled(self.integers(tokens, memory))

    def integers(self, tokens: Any, memory: Any = None) -> Any:
        """Return the scores as the hardware has them, whole numbers in float32 (N, H, L, S), with gradients."""
        with torch.autocast(tokens.device.type, enabled=False):
            own = self._projected(tokens)
            other = own if memory is None else self._projected(memory)
            query = self._estimated(own, self.query_weight, self.query_shift)
            key = self._estimated(other, self.key_weight, self.key_shift)
            return query @ key.transpose(-1, -2)

    def scaled(self, integers: Any) -> Any:
        """Return the numbers that `integers` stand for."""
        powers = _power(self.projection_shift) ** 2 * _power(self.query_shift) * _power(self.key_shift)
        steps = _step(self.query_weight, self.precision) * _step(self.key_weight, self.precision)
        of_projection = 3.0 / self.projection.shape[1]
        scale = self.token_step**2 * of_projection * powers[:, None, None] * steps
        return integers * scale

    def loss(self, scores: Any, estimated: Any) -> Any:
        """Return the mean squared error of the estimated scores (N, H, L, S) where a query may look."""
        squares = (scores - estimated) ** 2
        if not self.causal:
            return squares.mean()
        allowed = _allowed(squares.shape[-2], squares.shape[-1], True, squares.device)
        return squares.where(allowed, 0).sum() / (allowed.sum() * squares[..., 0, 0].numel())

    def select(self, integers: Any, rule: str = "top_k", **numbers: Any) -> Any:
        """Return which connections a rule keeps of the scores that `integers` returned; see `select`."""
        return select(integers.detach().to(torch.int64), rule, causal=self.causal, **numbers)

    def calibrate(self, tokens: Any, memory: Any = None) -> None:
        """Set the step of tokens and the shifts to those that lose least on these tokens."""
        with torch.no_grad():
            largest = max(float(x.abs().max()) for x in (tokens, memory) if x is not None)
            self.token_step.fill_(largest / (2 ** (self.token_bits - 1) - 1) if largest else 1.0)
            given = self.export()
            tuned = calibrate(
                self._whole(tokens),
                given.projection,
                given.detector_query,
                given.detector_key,
                self.precision,
                None if memory is None else self._whole(memory),
            )
            self.projection_shift.fill_(tuned.projection_shift)
            self.query_shift.copy_(torch.tensor(tuned.query_shift))
            self.key_shift.copy_(torch.tensor(tuned.key_shift))

    def tokens(self, tokens: Any) -> ValueTensor:
        """Return real tokens as the detector sees them, for the role `tokens` or `memory` of `Attention`."""
        return ValueTensor(self._whole(tokens), float(self.token_step), bits=self.token_bits)

    def export(self) -> Detector:
        """Return the detector in integers."""
        rank = self.projection.shape[1]
        return Detector(
            ValueTensor(_integers(self.projection), (3 / rank) ** 0.5, bits=2),
            self._tensor(self.query_weight),
            self._tensor(self.key_weight),
            self.precision,
            int(self.projection_shift),
            tuple(self.query_shift.tolist()),
            tuple(self.key_shift.tolist()),
        )

    def _tensor(self, weight: Any) -> ValueTensor:
        scale = tuple(_step(weight, self.precision).flatten().tolist())
        return ValueTensor(_integers(_codes(weight, self.precision)), scale, bits=self.precision)

    def _whole(self, tokens: Any) -> NDArray[np.int64]:
        return _integers(self._token_codes(tokens))

    def _token_codes(self, tokens: Any) -> Any:
        top = 2 ** (self.token_bits - 1) - 1
        return _Round.apply(tokens.float() / self.token_step).clamp(-top, top)

    def _projected(self, tokens: Any) -> Any:
        return self._narrow(self._token_codes(tokens) @ self.projection, self.projection_shift)

    def _estimated(self, projected: Any, weight: Any, shift: Any) -> Any:
        return self._narrow(projected[:, None] @ _codes(weight, self.precision), shift[:, None, None])

    def _narrow(self, values: Any, shift: Any) -> Any:
        return _Round.apply(values / _power(shift)).clamp(*limits(self.precision))


def select(
    scores: Any,
    rule: str,
    *,
    retention: float | None = None,
    keys_per_row: int | None = None,
    threshold: int | tuple[int, ...] | None = None,
    causal: bool = False,
) -> Any:
    """Do what `simulator.compress.select` does, on integer scores (N, H, L, S) in a tensor of PyTorch."""
    H, L, S = scores.shape[-3:]
    retention, keys_per_row, threshold = checked_rule(rule, retention, keys_per_row, threshold, S)
    allowed = _allowed(L, S, causal, scores.device)
    if rule == "none":
        return allowed.expand(scores.shape)
    order = (scores * S - torch.arange(S, device=scores.device)).masked_fill(~allowed, torch.iinfo(torch.int64).min)
    if rule == "threshold":
        level = torch.tensor(per_head(threshold, "threshold", H), device=scores.device)[:, None, None]
        return ((scores >= level) & allowed) | (order == order.amax(-1, keepdim=True))
    counts = torch.as_tensor(kept_per_row(allowed_keys(L, S, causal), retention, keys_per_row), device=scores.device)
    best = order.topk(int(counts.max()), dim=-1).values
    last = best.gather(-1, (counts - 1)[:, None].expand(*scores.shape[:-1], 1))
    return order >= last


def _allowed(queries: int, keys: int, causal: bool, device: Any) -> Any:
    limits_of_rows = torch.as_tensor(allowed_keys(queries, keys, causal), device=device)
    return torch.arange(keys, device=device) < limits_of_rows[:, None]


def _step(weight: Any, precision: int) -> Any:
    """Return the step of each head's weight, (H, 1, 1): see `WEIGHT_STEP`."""
    spread = weight.detach().float().square().mean((1, 2), keepdim=True).sqrt()
    return torch.where(spread > 0, WEIGHT_STEP[precision] * spread, 1.0)


def _codes(weight: Any, precision: int) -> Any:
    top = limits(precision)[1]
    return _Round.apply(weight.float() / _step(weight, precision)).clamp(-top, top)


def _power(shift: Any) -> Any:
    """Return 2^shift in float32, exact."""
    return torch.bitwise_left_shift(torch.ones_like(shift), shift).float()


def _integers(values: Any) -> NDArray[np.int64]:
    array: NDArray[np.int64] = values.detach().to("cpu", torch.int64).numpy()
    return array
