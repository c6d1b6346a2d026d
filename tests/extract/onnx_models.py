"""Small models that PyTorch runs and exports to ONNX."""

from __future__ import annotations

from typing import Any

from tests.extract.helpers import torch

nn = torch.nn
F = torch.nn.functional


class Block(nn.Module):
    """A residual block with a grouped and a depthwise convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, groups=2, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=2, dilation=2, groups=channels)
        self.relu = nn.ReLU()

    def forward(self, x: Any) -> Any:
        return self.relu(self.conv2(self.relu(self.bn1(self.conv1(x)))) + x)


class Convolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU6())
        self.blocks = nn.Sequential(Block(8), Block(8))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.out = nn.Linear(8, 5)

    def forward(self, x: Any) -> Any:
        return self.out(self.pool(self.blocks(F.max_pool2d(self.stem(x), 2))).flatten(1))


class Gated(nn.Module):
    """Fully connected layers, a gate, a group norm, a root-mean-square norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.gate = nn.Linear(12, 16), nn.Linear(16, 16), nn.Linear(16, 16)
        self.relu, self.norm, self.groups = nn.ReLU(), nn.LayerNorm(16), nn.GroupNorm(2, 6)
        self.table = nn.Parameter(torch.randn(16, 7))

    def forward(self, x: Any) -> Any:
        x = self.relu(self.first(x))
        x = self.groups(self.norm(self.second(x) * F.silu(self.gate(x))))
        return torch.einsum("bld,dk->blk", F.gelu(x, approximate="tanh"), self.table)


class Transformer(nn.Module):
    """A layer of PyTorch's, then causal attention with grouped keys, then one with a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, activation="gelu")
        self.query, self.key, self.value, self.out = (nn.Linear(16, size) for size in (16, 8, 8, 5))

    def forward(self, x: Any, mask: Any) -> Any:
        x = self.layer(x)
        images, length, _ = x.shape
        q, k, v = (each(x).view(images, length, -1, 4).transpose(1, 2) for each in (self.query, self.key, self.value))
        k, v = (each.repeat_interleave(2, 1) for each in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        y = y + F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        scores = (q @ k.transpose(-2, -1)) / 2
        y = y + torch.softmax(scores.masked_fill(~mask, float("-inf")), -1) @ v
        return self.out(y.transpose(1, 2).reshape(images, length, 16))


def trained(model: Any) -> Any:
    """Give batch norms something to do."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model.eval()


def examples() -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """Models and inputs, always the same."""
    torch.manual_seed(0)
    mask = torch.rand(2, 1, 6, 6) < 0.7
    mask[..., 0] = True
    return {
        "convolutions": (trained(Convolutions()), (torch.randn(2, 3, 18, 18),)),
        "perceptron": (
            nn.Sequential(
                nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4)
            ).eval(),
            (torch.randn(3, 20),),
        ),
        "gated": (Gated().eval(), (torch.randn(2, 6, 12),)),
        "transformer": (Transformer().eval(), (torch.randn(2, 6, 16), mask)),
    }  # fmt: skip
