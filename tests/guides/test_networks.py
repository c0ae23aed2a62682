"""Networks side by side against single ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vsg_ppl.guides.networks import Perceptrons


@pytest.mark.parametrize("leak", [0.0, 0.1])
def test_each_is_a_network_of_its_own(leak):
    many = Perceptrons(3, (2, 5, 4, 1), leak=leak)
    x = torch.randn(3, 7, 2)
    out = many(x)
    for k in range(3):
        layers = []
        for weight, bias in zip(many.weights, many.biases, strict=True):
            layer = nn.Linear(weight.shape[1], weight.shape[2])
            layer.weight.data, layer.bias.data = weight[k].T, bias[k, 0]
            layers += [layer, nn.LeakyReLU(leak)]
        assert torch.allclose(nn.Sequential(*layers[:-1])(x[k]), out[k], atol=1e-6)


def test_the_first_weights():
    """Uniform with the variance 2 / (in + out), and no bias."""
    many = Perceptrons(400, (30, 20, 10))
    for weight, bias in zip(many.weights, many.biases, strict=True):
        variance = 2 / (weight.shape[1] + weight.shape[2])
        assert abs(float(weight.detach().var()) / variance - 1) < 0.02
        assert not bias.any()
    assert not torch.equal(many.weights[0][0], many.weights[0][1])
