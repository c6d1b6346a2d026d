"""ResNet-18 and VGG-16 at 224×224 with synthetic masks: coefficients 5 %, activations 40 % dense."""

from __future__ import annotations

from itertools import count

from simulator.trace import Conv2d, DensityTensor, Linear, Operator, Trace

COEFFICIENTS, ACTIVATIONS, BASES = 0.05, 0.40, 6


class _Network:
    def __init__(self, name: str) -> None:
        self.name, self.operators, self._seeds = name, [], count()

    def _tensor(self, shape: tuple[int, ...], density: float, bits: int = 8) -> DensityTensor:
        return DensityTensor(shape, density, next(self._seeds), bits)

    def stem(self, name: str, size: int, outputs: int, kernel: int, stride: int) -> None:
        image, weight = self._tensor((1, 3, size, size), 1.0), self._tensor((outputs, 3, kernel, kernel), 1.0)
        self._add(Conv2d(name, image, weight=weight, stride=stride, padding=kernel // 2))

    def conv(self, name: str, channels: int, size: int, outputs: int, stride: int = 1) -> None:
        self._add(
            Conv2d(
                name,
                self._tensor((1, channels, size, size), ACTIVATIONS),
                basis=self._tensor((BASES, 3, 3), 1.0),
                coefficients=self._tensor((outputs, channels, BASES), COEFFICIENTS, bits=1),
                stride=stride,
                padding=1,
            )
        )

    def pointwise(self, name: str, channels: int, size: int, outputs: int, stride: int) -> None:
        weight = self._tensor((outputs, channels, 1, 1), COEFFICIENTS, bits=1)
        self._add(Conv2d(name, self._tensor((1, channels, size, size), ACTIVATIONS), weight=weight, stride=stride))

    def linear(self, name: str, inputs: int, outputs: int) -> None:
        weight = self._tensor((outputs, inputs), COEFFICIENTS, bits=1)
        self._add(Linear(name, self._tensor((1, inputs), ACTIVATIONS), weight=weight))

    def _add(self, operator: Operator) -> None:
        self.operators.append(operator)

    def trace(self) -> Trace:
        return Trace(self.name, tuple(self.operators))


def resnet18() -> Trace:
    """Return ResNet-18 (He et al., CVPR 2016, table 1)."""
    network = _Network("resnet18")
    network.stem("conv1", 224, 64, kernel=7, stride=2)
    channels, size = 64, 56
    for stage, outputs in enumerate((64, 128, 256, 512), 1):
        for block in range(2):
            stride = 2 if stage > 1 and block == 0 else 1
            network.conv(f"layer{stage}.{block}.conv1", channels, size, outputs, stride)
            if stride == 2:
                network.pointwise(f"layer{stage}.{block}.downsample", channels, size, outputs, stride)
                size //= 2
            network.conv(f"layer{stage}.{block}.conv2", outputs, size, outputs)
            channels = outputs
    network.linear("fc", 512, 1000)
    return network.trace()


def vgg16() -> Trace:
    """Return VGG-16 (Simonyan and Zisserman, ICLR 2015, configuration D)."""
    network = _Network("vgg16")
    network.stem("conv1_1", 224, 64, kernel=3, stride=1)
    channels, size = 64, 224
    for stage, (outputs, layers) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), 1):
        for layer in range(1, layers + 1):
            if (stage, layer) != (1, 1):
                network.conv(f"conv{stage}_{layer}", channels, size, outputs)
            channels = outputs
        size //= 2
    for name, inputs, outputs in (("fc6", 25088, 4096), ("fc7", 4096, 4096), ("fc8", 4096, 1000)):
        network.linear(name, inputs, outputs)
    return network.trace()
