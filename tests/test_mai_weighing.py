"""Opponent models fitted to weighted draws, against quadrature of what is best for all."""

from __future__ import annotations

import math

import pytest
import torch

import vsg_ppl as vsg
from tests.test_mai_learner import ALPHA, BETA, gradients, learner, log_density, penalty
from vsg_ppl import mai_weighing
from vsg_ppl.errors import GameError
from vsg_ppl.guides.actions import Shape
from vsg_ppl.mai_learner import Learner
from vsg_ppl.mai_weighing import UNSEEN, Weighing
from vsg_ppl.models import Differential, StagHunt

STATES = torch.tensor([[[0.3, -0.8], [1.2, 0.4]]] * 3)


def weighing(kind=Weighing, others=1):
    """Three learners."""
    agent = learner(kind=kind, others=others)
    with torch.no_grad():  # hills to tell apart
        agent.critic.weights[-1].mul_(5.0)
    return agent


def best_for_all(agent, seen, alpha):
    """ρ* on a grid of o for each state, where α' = α: P E_even[ exp(Q / α) ], the grid and ρ*."""
    grid, coarse = ((torch.arange(n) + 0.5) / (n / 2) - 1 for n in (2000, 100))
    o, x = (part.flatten() for part in torch.meshgrid(grid, coarse, indexing="ij"))
    found = []
    for k in range(seen.shape[1]):
        at = seen[:, k : k + 1]
        value = agent.q(at.expand(-1, len(o), -1), *(u.expand(3, -1)[..., None] for u in (x, o)))
        soft = (value.double() / alpha).view(3, 2000, 100).exp().mean(-1)
        prior = log_density(agent.prior(at).expand(-1, 2000, -1), grid.expand(3, -1)[..., None])
        law = ((1 - UNSEEN) * prior.exp() + UNSEEN / 2) * soft
        found.append(law / law.sum(-1, keepdim=True))
    return grid.double(), torch.stack(found, 1)


@pytest.fixture
def many(monkeypatch):
    """So many candidates that weights hardly depend on which."""
    monkeypatch.setattr(mai_weighing, "CANDIDATES", 100_000)


def test_weights_are_those_of_what_is_best_for_all(many):
    """Means of functions of o under the weights, whatever ρ and π are (Eq. 5)."""
    agent = weighing()
    grid, law = best_for_all(agent, STATES, ALPHA)
    other, weights = agent.weighed(STATES, ALPHA, ALPHA)
    other, weights = (u.unflatten(1, (2, -1)).double() for u in (other[..., 0], weights))
    assert torch.allclose(weights.sum(-1), torch.ones(3, 2).double(), atol=1e-4)
    for f in (torch.sin, torch.square, lambda o: (o > 0.5).double()):
        assert torch.allclose((weights * f(other)).sum(-1), (law * f(grid)).sum(-1), atol=0.01)


def test_the_opponent_model_is_drawn_to_it(many):
    """The loss's gradient is that of −Σ ρ*(o) log ρ(o) on the grid."""
    agent = weighing()
    seen = STATES[:, :1]
    grid, law = best_for_all(agent, seen, ALPHA)
    found = gradients(agent.model_loss(seen, ALPHA, ALPHA), agent.model)
    outputs = agent.model(seen)
    each = log_density(outputs.expand(-1, 2000, -1), grid.expand(3, -1)[..., None])
    wanted = gradients((penalty(outputs).sum() - (law[:, 0] * each).sum()), agent.model)
    assert torch.allclose(found, wanted, atol=0.02 * float(wanted.abs().max()))


def test_weights_by_their_formula():
    """Two others, α' unlike α: P exp((Q − α log π / u) / α') / q, with draws of the same seed."""
    agent = weighing(others=2)
    torch.manual_seed(5)
    other, weights = agent.weighed(STATES, ALPHA, BETA)
    torch.manual_seed(5)
    seen = STATES.repeat_interleave(mai_weighing.CANDIDATES, 1)
    rho, prior = agent.model(seen), agent.prior(seen)
    expected = agent._candidates(agent.theirs(rho).sample())
    answer = agent.policy(torch.cat([seen, expected], -1))
    own = agent.answer(seen, expected).sample()
    assert torch.equal(other, expected)
    value = agent.q(seen, own, other) - ALPHA * (log_density(answer, own) + math.log(2))
    p, q = (log_density(outputs, other).exp() for outputs in (prior, rho))
    raw = ((1 - UNSEEN) * p + UNSEEN / 4) / (q / 2 + 1 / 8) * (value / BETA).exp()
    raw = raw.unflatten(1, (2, -1))
    wanted = (raw / raw.sum(-1, keepdim=True)).flatten(1)
    assert torch.allclose(weights.double(), wanted, rtol=1e-3, atol=1e-6)


def test_half_of_the_candidates_are_even():
    agent = weighing()
    agent.start(0.9, 0.01)
    drawn = agent.imagined(torch.zeros(3, 20_000, 2))[..., 0]
    assert (drawn[:, 1::2] > 0.8).all()
    even = drawn[:, ::2].flatten()
    assert abs(float(even.mean())) < 0.01
    assert abs(float(even.var()) - 1 / 3) < 0.01


def test_shares_of_others():
    """Others that choose shares: weights are finite, and candidates shares."""
    torch.manual_seed(0)
    shapes = [Shape("simplex", 3), Shape("box", 2)]
    agent = Weighing(2, 1, shapes[0], shapes, hidden=(8,), learning_rate=1e-2)
    other, weights = agent.weighed(torch.zeros(2, 4, 1), ALPHA, BETA)
    assert torch.isfinite(weights).all()
    assert torch.allclose(other[..., :3].sum(-1), torch.ones(()))
    assert torch.isfinite(agent.model_loss(torch.zeros(2, 4, 1), ALPHA, BETA))


def test_weights_that_are_nothing():
    """Far worse candidates count for nothing, and are no fault."""
    agent = weighing()
    with torch.no_grad():
        agent.critic.weights[-1].mul_(1e6)
    assert (agent.weighed(STATES, 1.0, 1.0)[1] == 0).any()
    assert torch.isfinite(agent.model_loss(STATES, 1.0, 1.0))


@pytest.mark.parametrize("divergence", ["inclusive", "exclusive"])
def test_another_peak_becomes_the_higher_one(divergence):
    """The inclusive fit leaves the lower hill, on which the exclusive one stays."""
    agent = weighing(Weighing if divergence == "inclusive" else Learner)
    agent.start(-0.5, 0.05)
    with torch.no_grad():
        agent.prior.weights[-1].zero_()
        agent.prior.biases[-1].zero_()

    def q(seen, own, other, target=False):
        far = [((own - at) ** 2 + (other - at) ** 2).sum(-1) for at in (-0.5, 0.5)]
        return torch.maximum(-30 * far[0], 10 - 30 * far[1])

    agent.q = q
    seen = torch.zeros(3, 64, 2)
    for _ in range(400):
        agent.improve("policy", lambda: agent.policy_loss(seen, agent.imagined(seen), 0.5))
        agent.improve("model", lambda: agent.model_loss(seen, 0.5, 1.0))
    middle = float(agent.others_by_model(torch.zeros(3, 500, 2)).median())
    assert abs(middle - (0.5 if divergence == "inclusive" else -0.5)) < 0.15


def test_where_there_is_a_choice():
    for game, options in (
        (StagHunt(), {}),
        (Differential(), {"opponents": "observed"}),
        (Differential(), {"conditional": False}),
    ):
        with pytest.raises(GameError, match="divergence"):
            vsg.mai(game, divergence="inclusive", episodes=1, steps=1, **options)
    with pytest.raises(GameError, match="the divergence is 'forward'"):
        vsg.mai(Differential(), divergence="forward", episodes=1)
    runs = [vsg.mai(Differential(), divergence=d, episodes=6) for d in ("inclusive", "exclusive")]
    usual = vsg.mai(Differential(), episodes=6)
    assert torch.equal(usual.rewards, runs[0].rewards)
    assert not torch.equal(usual.rewards, runs[1].rewards)


def test_among_many_numbers_draws_hit_nothing():
    """Six numbers of others: the ELBO is the default."""
    game = Differential(n_agents=3, dims=3)
    runs = [vsg.mai(game, divergence=d, episodes=2, steps=5) for d in (None, "exclusive")]
    assert torch.equal(runs[0].rewards, runs[1].rewards)
