"""Networks side by side against single ones, and the tanh-normal law against its density."""

from __future__ import annotations

import math

import torch
from torch import nn

from vsg_ppl.guides.networks import Perceptrons, tanh_normal


def test_each_is_a_network_of_its_own():
    many = Perceptrons(3, (2, 5, 4, 1))
    x = torch.randn(3, 7, 2)
    out = many(x)
    for k in range(3):
        layers = []
        for weight, bias in zip(many.weights, many.biases, strict=True):
            layer = nn.Linear(weight.shape[1], weight.shape[2])
            layer.weight.data, layer.bias.data = weight[k].T, bias[k, 0]
            layers += [layer, nn.ReLU()]
        assert torch.allclose(nn.Sequential(*layers[:-1])(x[k]), out[k], atol=1e-6)


def test_the_first_weights():
    """Uniform with the variance 2 / (in + out), and no bias."""
    many = Perceptrons(400, (30, 20, 10))
    for weight, bias in zip(many.weights, many.biases, strict=True):
        variance = 2 / (weight.shape[1] + weight.shape[2])
        assert abs(float(weight.detach().var()) / variance - 1) < 0.02
        assert not bias.any()
    assert not torch.equal(many.weights[0][0], many.weights[0][1])


def test_the_tanh_normal_law():
    """It integrates to one, and its samples have the mass that the density says."""
    outputs = torch.tensor([0.4, -0.7])
    law = tanh_normal(outputs)
    edges = torch.linspace(-1, 1, 200_001)
    middle = ((edges[1:] + edges[:-1]) / 2)[:, None]
    density = law.expand([len(middle)]).log_prob(middle).exp()
    width = 2 / 200_000
    assert math.isclose(float(density.sum()) * width, 1.0, abs_tol=1e-3)
    torch.manual_seed(0)
    below = float((law.sample((50_000,)) < 0.2).float().mean())
    assert abs(float(density[middle[:, 0] < 0.2].sum()) * width - below) < 0.01


def test_scales_are_bounded():
    for value in (-100.0, 100.0):
        law = tanh_normal(torch.tensor([0.0, value]))
        sample = law.rsample((100,))
        assert torch.isfinite(sample).all()
        assert torch.isfinite(law.log_prob(sample.clamp(-1 + 1e-6, 1 - 1e-6))).all()
