"""A model as a user writes it: audio, images and text in one, with every habit that extraction must live with."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations


class SqueezeExcite(nn.Module):
    """Gates channels by what their means say."""

    def __init__(self, channels: int, reduction: int = 4):
        super().__init__()
        self.reduce = nn.Conv2d(channels, channels // reduction, 1)
        self.expand = nn.Conv2d(channels // reduction, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = x.mean((2, 3), keepdim=True)
        gate = torch.sigmoid(self.expand(functional.relu(self.reduce(gate))))
        return x * gate


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; a MobileNet block with gates."""

    def __init__(self, channels: int, outputs: int, stride: int = 1, expansion: int = 3):
        super().__init__()
        hidden = channels * expansion
        self.expand = nn.Sequential(nn.Conv2d(channels, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6())
        self.depthwise = nn.Sequential(
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
        )
        self.gate = SqueezeExcite(hidden)
        self.project = nn.Sequential(nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.residual = stride == 1 and channels == outputs

    def forward(self, x: Tensor) -> Tensor:
        out = self.project(self.gate(self.depthwise(self.expand(x))))
        return x + out if self.residual else out


class GroupedBlock(nn.Module):
    """A ResNeXt block: a bottleneck with grouped convolutions and a shortcut."""

    def __init__(self, channels: int, outputs: int, groups: int = 4):
        super().__init__()
        width = outputs // 2
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=2, dilation=2, groups=groups, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Conv2d(channels, outputs, 1) if channels != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.norm1(self.conv1(x)))
        out = functional.relu_(self.norm2(self.conv2(out)))
        out = self.norm3(self.conv3(out))
        out += self.shortcut(x)
        return out.relu_()


class RootMeanSquareNorm(nn.Module):
    """As everybody writes it."""

    def __init__(self, features: int, eps: float = 1e-6):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(features))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))


class EinsumAttention(nn.Module):
    """Attention in einsums, with a learned bias for each distance left out and a causal mask."""

    def __init__(self, features: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(features, 3 * features, bias=False)
        self.out = nn.Linear(features, features)

    def forward(self, x: Tensor) -> Tensor:
        n, length, features = x.shape
        q, k, v = self.qkv(x).view(n, length, 3, self.heads, -1).unbind(2)
        scores = torch.einsum("blhd,bshd->bhls", q, k) / math.sqrt(q.shape[-1])
        future = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
        weights = scores.masked_fill(future, float("-inf")).softmax(-1)
        return self.out(torch.einsum("bhls,bshd->blhd", weights, v).reshape(n, length, features))


class GroupedQueryAttention(nn.Module):
    """Fewer heads of keys and values than of queries, as one call."""

    def __init__(self, features: int, heads: int, groups: int):
        super().__init__()
        self.heads, self.groups, size = heads, groups, features // heads
        self.query = nn.Linear(features, features)
        self.key_value = nn.Linear(features, 2 * groups * size)
        self.out = nn.Linear(features, features)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        n, length = x.shape[:2]
        q = self.query(x).view(n, length, self.heads, -1).transpose(1, 2)
        k, v = self.key_value(memory).view(n, memory.shape[1], 2, self.groups, -1).permute(2, 0, 3, 1, 4)
        out = functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        return self.out(out.transpose(1, 2).flatten(2))


class GatedFeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, features: int, hidden: int):
        super().__init__()
        self.gate = nn.Linear(features, hidden, bias=False)
        self.up = nn.Linear(features, hidden, bias=False)
        self.down = nn.Linear(hidden, features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(functional.silu(self.gate(x)) * self.up(x))


class Experts(nn.Module):
    """A dense mixture of experts: all compute, a gate weighs."""

    def __init__(self, features: int, experts: int):
        super().__init__()
        self.gate = nn.Linear(features, experts)
        self.weight = nn.Parameter(torch.randn(experts, features, features) / features**0.5)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.gate(x).softmax(-1)
        each = torch.einsum("blf,efg->bleg", x, self.weight)
        return torch.einsum("ble,bleg->blg", gate, functional.gelu(each))


class Straight(torch.autograd.Function):
    """Round forward, pass gradients through."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return torch.round(x * 16) / 16

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return gradient


class AudioStem(nn.Module):
    """Convolutions in one dimension, weight-normalised, then a recurrent layer."""

    def __init__(self, features: int):
        super().__init__()
        self.conv1 = parametrizations.weight_norm(nn.Conv1d(1, features // 2, 9, stride=4, padding=4))
        self.conv2 = nn.Conv1d(features // 2, features, 5, stride=2, padding="valid", groups=2)
        self.norm = nn.GroupNorm(4, features)
        self.recurrent = nn.GRU(features, features, batch_first=True)

    def forward(self, wave: Tensor) -> Tensor:
        x = functional.gelu(self.conv1(wave.unsqueeze(1)))
        x = self.norm(self.conv2(x)).relu()
        return self.recurrent(x.transpose(1, 2))[0]


class ImageStem(nn.Module):
    """Convolutions in two dimensions, into tokens."""

    def __init__(self, features: int):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)
        )
        self.stages = nn.Sequential(
            InvertedResidual(16, 24, stride=2),
            InvertedResidual(24, 24),
            GroupedBlock(24, 48),
            GroupedBlock(48, 48),
        )
        self.pool = nn.MaxPool2d(2)
        self.project = nn.Conv2d(48, features, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.project(self.pool(self.stages(self.stem(image)))).flatten(2).transpose(1, 2)


class TextStem(nn.Module):
    """Tokens and their places."""

    def __init__(self, features: int, words: int, length: int):
        super().__init__()
        self.words = nn.Embedding(words, features, padding_idx=0)
        self.places = nn.Parameter(torch.randn(length, features) * 0.02)

    def forward(self, words: Tensor) -> Tensor:
        return self.words(words) * math.sqrt(self.places.shape[1]) + self.places[: words.shape[1]]


class EncoderLayer(nn.Module):
    """MultiheadAttention and a feed-forward part, normalised before."""

    def __init__(self, features: int, heads: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(features), nn.LayerNorm(features)
        self.attention = nn.MultiheadAttention(features, heads, batch_first=True, dropout=0.1)
        self.feed = nn.Sequential(
            nn.Linear(features, 4 * features), nn.GELU(), nn.Dropout(0.1), nn.Linear(4 * features, features)
        )

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        y = self.norm1(x)
        x = x + self.attention(y, y, y, key_padding_mask=padding, need_weights=False)[0]
        return x + self.feed(self.norm2(x))


class DecoderLayer(nn.Module):
    """Causal attention in einsums, grouped queries to the encoder, experts."""

    def __init__(self, features: int, heads: int):
        super().__init__()
        self.norms = nn.ModuleList(RootMeanSquareNorm(features) for _ in range(4))
        self.own = EinsumAttention(features, heads)
        self.cross = GroupedQueryAttention(features, heads, heads // 2)
        self.feed = GatedFeedForward(features, 3 * features)
        self.experts = Experts(features, 3)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        x = x + self.own(self.norms[0](x))
        x = x + self.cross(self.norms[1](x), memory)
        x = x + self.feed(self.norms[2](x))
        return x + self.experts(self.norms[3](x))


class Contrast(nn.Module):
    """How alike two modalities are: products without parameters."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        a, b = functional.normalize(a.mean(1), dim=-1), functional.normalize(b.mean(1), dim=-1)
        return torch.einsum("bf,cf->bc", a, b) + a @ b.T


class UserModel(nn.Module):
    """All of it; words in, words out, the output layer shares the embedding's weight.

    Args:
        features: of a token.
        heads: of the attention.
        words: in the vocabulary.

    """

    def __init__(self, features: int = 64, heads: int = 4, words: int = 200, layers: int = 2):
        super().__init__()
        self.audio = AudioStem(features)
        self.image = ImageStem(features)
        self.text = TextStem(features, words, 64)
        self.bridge = nn.Bilinear(4, 4, 4)
        self.encoder = nn.ModuleList(EncoderLayer(features, heads) for _ in range(layers))
        self.builtin = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(features, heads, 2 * features, batch_first=True), 1, enable_nested_tensor=False
        )
        self.decoder = nn.ModuleList(DecoderLayer(features, heads) for _ in range(layers))
        self.contrast = Contrast()
        self.register_buffer("mixing", torch.softmax(torch.randn(features, features), -1))

    def forward(self, image: Tensor, wave: Tensor, words: Tensor) -> dict[str, Tensor]:
        pixels, sounds = self.image(image), self.audio(wave)
        memory = torch.cat([pixels, sounds], 1)
        small = self.bridge(memory[..., :4].contiguous(), memory[..., 4:8].contiguous())
        memory = memory + functional.pad(small, (0, memory.shape[-1] - 4))
        padding = torch.zeros(memory.shape[:2], dtype=torch.bool)
        padding[:, -2:] = True
        for layer in self.encoder:
            memory = layer(memory, padding)
        memory = Straight.apply(self.builtin(memory) @ self.mixing)
        x = self.text(words)
        for layer in self.decoder:
            x = layer(x, memory)
        logits = functional.linear(x, self.text.words.weight)
        return {"logits": logits, "alike": self.contrast(pixels, sounds)}


def model() -> UserModel:
    """Return the model, its weights drawn from PyTorch's current seed."""
    return UserModel()


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Return an image, a wave and words for two samples."""
    draws = torch.Generator().manual_seed(0)
    return (
        torch.randn(2, 3, 64, 64, generator=draws),
        torch.randn(2, 400, generator=draws),
        torch.randint(1, 200, (2, 24), generator=draws),
    )
