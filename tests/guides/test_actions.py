"""Shapes of actions, and what squashes normal numbers to them, against torch's own transforms."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Dirichlet, Independent, Normal, TransformedDistribution
from torch.distributions.transforms import StickBreakingTransform, TanhTransform

from vsg_ppl.guides.actions import Shape, Squash, even_law, squashed_normal

shapes = st.lists(
    st.builds(Shape, st.sampled_from(["box", "simplex"]), st.integers(2, 4)), min_size=1, max_size=4
)


def theirs(x, given_shapes):
    """Actions and log volumes by torch's transforms, a shape at a time."""
    actions, volume = [], torch.zeros(x.shape[:-1]).double()
    for shape, part in zip(given_shapes, x.split([s.free for s in given_shapes], -1), strict=True):
        if shape.kind == "box":
            actions.append(part.tanh())
            volume = volume + TanhTransform().log_abs_det_jacobian(part, part.tanh()).sum(-1)
        else:
            stick = StickBreakingTransform()
            actions.append(stick(part))
            volume = volume + stick.log_abs_det_jacobian(part, actions[-1])
    return torch.cat(actions, -1), volume


@settings(deadline=None, max_examples=40)
@given(shapes, st.integers(0, 1000))
def test_as_torch_has_it(given_shapes, seed):
    torch.manual_seed(seed)
    squash = Squash(given_shapes)
    x = 2 * torch.randn(5, sum(shape.free for shape in given_shapes)).double()
    actions, volume = theirs(x, given_shapes)
    found = squash(x)
    assert torch.allclose(found, actions, atol=1e-12)
    assert torch.allclose(squash.log_abs_det_jacobian(x, found), volume, atol=1e-9)
    # observed shares come no nearer to 0 than 1e-6
    inside = (found.abs() < 1 - 1e-6).all() and (found.abs() > 1e-6).all()
    if inside:
        assert torch.allclose(squash.inv(found), x, atol=1e-6)
    assert squash.forward_shape(x.shape) == found.shape
    assert squash.inverse_shape(found.shape) == x.shape


def test_far_out():
    """Where shares underflow, densities and gradients are numbers still."""
    squash = Squash([Shape("simplex", 8), Shape("box", 2)])
    x = torch.tensor([-200.0, 50.0, 200.0, 0.0, 90.0, 3.0, -3.0, 200.0, -200.0], requires_grad=True)
    actions = squash(x)
    volume = squash.log_abs_det_jacobian(x, actions)
    (actions.sum() + volume).backward()
    assert torch.isfinite(actions).all() and torch.isfinite(volume) and torch.isfinite(x.grad).all()
    assert float(actions[:8].detach().sum()) == pytest.approx(1.0)
    edge = torch.tensor([1.0, 0, 0, 0, 0, 0, 0, 0, 1.0, -1.0])
    law = squashed_normal(torch.zeros(18), [Shape("simplex", 8), Shape("box", 2)])
    assert torch.isfinite(law.log_prob(edge))


def test_the_law():
    """As torch's transformed distributions, drawn or given."""
    torch.manual_seed(0)
    outputs = torch.randn(4, 6)
    law = squashed_normal(outputs, [Shape("box", 1), Shape("simplex", 3)])
    drawn = law.rsample()
    mean, scale = outputs[:, :3], outputs[:, 3:].exp() + 0.01
    box = TransformedDistribution(Normal(mean[:, :1], scale[:, :1]), [TanhTransform()])
    stick = TransformedDistribution(
        Independent(Normal(mean[:, 1:], scale[:, 1:]), 1), [StickBreakingTransform()]
    )
    wanted = box.log_prob(drawn[:, :1])[:, 0] + stick.log_prob(drawn[:, 1:])
    assert torch.allclose(law.log_prob(drawn), wanted, atol=1e-4)
    assert torch.allclose(law.log_prob(drawn.clone()), wanted, atol=1e-4)


def test_even_play():
    torch.manual_seed(0)
    box, simplex, finite = Shape("box", 2), Shape("simplex", 3), Shape("finite", 4)
    for shape in (box, simplex, finite):
        drawn = shape.even(5, 7)
        assert drawn.shape == (5, 7, shape.width)
        found = even_law(shape).log_prob(drawn)
        assert torch.allclose(found, torch.tensor(shape.log_density), atol=1e-5)
    assert box.log_density == -2 * math.log(2)
    wanted = Dirichlet(torch.ones(3)).log_prob(torch.tensor([0.2, 0.3, 0.5]))
    assert simplex.log_density == pytest.approx(float(wanted))
    many = simplex.even(20000)
    assert torch.allclose(many.mean(0), torch.full((3,), 1 / 3), atol=0.01)
    assert torch.allclose(
        many.var(0), torch.full((3,), 1 / 18), atol=0.003
    )  # of Dirichlet(1, 1, 1)
    assert torch.allclose(finite.even(20000).mean(0), torch.full((4,), 0.25), atol=0.02)


def test_what_lies_nearby():
    assert Shape("box", 2).nearby(torch.tensor([-3.0, 0.5])).tolist() == [-1.0, 0.5]
    shares = Shape("simplex", 3).nearby(torch.tensor([-0.1, 0.6, 0.6]))
    assert torch.allclose(shares, torch.tensor([0.0, 0.5, 0.5]))
    assert torch.allclose(Shape("simplex", 2).nearby(-torch.ones(2)), torch.tensor([0.5, 0.5]))
