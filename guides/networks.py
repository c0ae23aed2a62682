"""Many small networks of one shape side by side."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu

LEAK = 0.1
"""Slope of rectifiers below zero.

Without it units die: of critics that first see rewards far below zero, those with weight upwards
do, and such a critic is flat where a hill should be.
"""


class Perceptrons(torch.nn.Module):
    """G multilayer perceptrons of one shape, computed as one product; each learns alone.

    Weights are drawn as X. Glorot and Y. Bengio do (2010), biases are zero. It matters: from
    smaller weights opponent models start out alike, and more learners end on a poor hill.

    Args:
        groups: G.
        sizes: of the layers, inputs and outputs included.
        leak: slope of rectifiers below zero; 0 for plain ones.

    >>> Perceptrons(3, (2, 64, 64, 1))(torch.zeros(3, 10, 2)).shape
    torch.Size([3, 10, 1])
    """

    def __init__(self, groups: int, sizes: tuple[int, ...], *, leak: float = LEAK) -> None:
        super().__init__()
        self.leak = leak
        self.weights = torch.nn.ParameterList()
        self.biases = torch.nn.ParameterList()
        for size, following in zip(sizes, sizes[1:], strict=False):
            reach = sqrt(6 / (size + following))
            weight = torch.empty(groups, size, following).uniform_(-reach, reach)
            self.weights.append(torch.nn.Parameter(weight))
            self.biases.append(torch.nn.Parameter(torch.zeros(groups, 1, following)))

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (G, B, out) of inputs (G, B, in)."""
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, x, weight)
            if k + 1 < len(self.weights):
                x = leaky_relu(x, self.leak, inplace=True)
        return x
