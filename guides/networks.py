"""Many small networks of one shape side by side, and the laws that their outputs stand for."""

from __future__ import annotations

from math import sqrt
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions.transforms import TanhTransform

LOG_SCALES = (-20.0, 2.0)
"""Between these log σ is clamped; LEAST is added to σ."""

LEAST = 0.01


class Perceptrons(torch.nn.Module):
    """G multilayer perceptrons of one shape, computed as one product; each learns alone.

    Weights are drawn as X. Glorot and Y. Bengio do (2010), biases are zero. It matters: from
    smaller weights opponent models start out alike, and more learners end on a poor hill.

    Args:
        groups: G.
        sizes: of the layers, inputs and outputs included.

    >>> Perceptrons(3, (2, 64, 64, 1))(torch.zeros(3, 10, 2)).shape
    torch.Size([3, 10, 1])
    """

    def __init__(self, groups: int, sizes: tuple[int, ...]) -> None:
        super().__init__()
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
                x = x.relu_()
        return x


def spread(outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log σ of a tanh-normal law, of outputs (..., 2 D)."""
    mean, log_scale = outputs.chunk(2, -1)
    return mean, log_scale.clamp(*LOG_SCALES)


def tanh_normal(outputs: Tensor) -> Any:
    """The law of tanh(x), x normal, over vectors in (−1, 1)^D, of outputs (..., 2 D).

    >>> law = tanh_normal(torch.zeros(5, 4))
    >>> law.batch_shape, law.event_shape
    (torch.Size([5]), torch.Size([2]))
    """
    mean, log_scale = spread(outputs)
    normal = dist.Normal(mean, log_scale.exp() + LEAST, validate_args=False)
    law = dist.TransformedDistribution(normal, [TanhTransform(cache_size=1)], validate_args=False)
    return law.to_event(1)
