"""Opponent models of MAI that know, guess or watch, against their formulas."""

from __future__ import annotations

import math

import pyro.distributions as dist
import pytest
import torch

import vsg_ppl as vsg
from tests.test_mai_learner import gradients, learner, log_density, penalty
from vsg_ppl import mai_opponents
from vsg_ppl.guides.actions import Shape
from vsg_ppl.mai import Cooling, mai
from vsg_ppl.mai_learner import Learner, Plan
from vsg_ppl.mai_opponents import PROPOSALS, Guessing, Knowing, Watching
from vsg_ppl.replay import Replay
from vsg_ppl.settings import Settings

BETA, DRAWS = 1.3, 4

WIDTHS = {"seen": 2, "own": 1, "other": 2, "reward": 1, "theirs": 2, "goes_on": 1, "next": 2}


def test_what_they_want_who_are_known():
    """Σ_j Q^j at j's own new action and everybody's else old one, one j at a time."""
    agent, seen = learner(others=2, kind=Knowing), torch.randn(3, DRAWS, 2)
    torch.manual_seed(7)
    loss = agent.their_loss(seen, BETA)
    torch.manual_seed(7)
    amid = agent.others_by_model(seen)
    own = agent.answer(seen, amid).sample()
    outputs = agent.model(seen)
    other = agent.theirs(outputs).rsample()
    expected = BETA * (log_density(outputs, other) - log_density(agent.prior(seen), other))
    for j in range(2):
        mixed = amid.clone()
        mixed[..., j] = other[..., j]
        expected = expected - agent.values("their critic", seen, own, mixed)[..., j]
    expected = (expected + penalty(outputs)).sum() / DRAWS
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    found, wanted = gradients(loss, agent.model), gradients(expected, agent.model)
    assert torch.allclose(found, wanted, rtol=1e-3, atol=1e-4)


def test_what_their_critics_are_told():
    agent = learner(others=2, kind=Knowing)
    drawn = {
        name: torch.randn(3, DRAWS, width)
        for name, width in {"seen": 2, "own": 1, "other": 2, "theirs": 2, "next": 2}.items()
    }
    drawn["goes_on"] = torch.tensor([1.0, 0.0, 1.0, 1.0])[None, :, None].expand(3, -1, -1)
    told = []
    agent.improve = lambda name, loss: told.append((name, loss()))
    torch.manual_seed(3)
    agent.improve_model(drawn, 0.9, 0.5, BETA)
    torch.manual_seed(3)
    later = agent.expected_by_them(drawn["next"])
    wanted = drawn["theirs"] + 0.9 * drawn["goes_on"] * later
    off = agent.values("their critic", drawn["seen"], drawn["own"], drawn["other"]) - wanted
    expected = (0.5 * off**2 + 0.5 * math.log(2 * math.pi)).sum() / DRAWS
    assert [name for name, _ in told] == ["their critic", "model"]
    assert told[0][1].item() == pytest.approx(expected.item(), rel=1e-5)


def guessing(others=2):
    agent = learner(others=others, kind=Guessing)
    widths = {"seen": 2, "own": 1, "other": others}
    return agent, {name: torch.rand(3, DRAWS, k) for name, k in widths.items()}


def integrals(agent, drawn):
    """log ∫ exp(r_ψ / α') do_j on a grid, amid what was done, for each j, (G, B, others)."""
    cells, found = 2000, []
    grid = (torch.arange(cells) + 0.5) / cells * 2 - 1
    wide, own, amid = (drawn[name].repeat_interleave(cells, 1) for name in ("seen", "own", "other"))
    for j in range(amid.shape[-1]):
        at = amid.clone()
        at[..., j] = grid.repeat(DRAWS)
        r = agent.values("their rewards", wide, own, at)[..., j].unflatten(1, (DRAWS, cells))
        found.append((r / BETA).logsumexp(-1) + math.log(2 / cells))
    return torch.stack(found, -1)


def said(agent, drawn):
    return agent.values("their rewards", *(drawn[name] for name in ("seen", "own", "other")))


def test_each_has_a_normaliser_of_its_own(monkeypatch):
    """Of two others, the one redrawn and the other as it was done; values and gradients."""
    monkeypatch.setattr(mai_opponents, "PROPOSALS", 30_000)
    agent, drawn = guessing()
    network = agent.networks["their rewards"]
    with torch.no_grad():
        for weight in network.weights:
            weight *= 1.5
    exact, loss = integrals(agent, drawn), agent.rewards_loss(drawn, BETA)
    wanted = (exact - said(agent, drawn) / BETA).sum() / DRAWS
    off = 6 * math.log(30_000)  # of a sum that is no mean: of 3 learners and 2 others
    assert loss.item() - off == pytest.approx(wanted.item(), abs=0.02)
    found, gradient = gradients(loss, network), gradients(wanted, network)
    assert torch.allclose(found, gradient, atol=0.01 * gradient.abs().max())
    paid = said(agent, drawn) - BETA * (exact - math.log(2))
    assert torch.allclose(agent.paid(drawn, BETA), paid, atol=0.03)


@pytest.mark.parametrize("others", [1, 2])
def test_a_level_is_no_reward(others):
    """Of the state, of the own action, and of what the rest of the others did."""
    agent, drawn = guessing(others)
    values, found = agent.values, []

    def shifted(name, seen, own, other):
        level = 50 * seen[..., :1] - 20 * own
        if others == 2:  # for the one, what the other did
            level = level + 30 * other.flip(-1)
        return values(name, seen, own, other) + level

    for agent.values in (values, shifted):
        torch.manual_seed(3)
        found.append(agent.paid(drawn, BETA))
    assert torch.allclose(*found, atol=1e-3)


def test_with_nothing_ahead_nothing_is_drawn():
    """Any level will do then."""
    agent, drawn = guessing()
    before = torch.get_rng_state()
    assert torch.equal(agent.paid(drawn, BETA, ahead=False), said(agent, drawn))
    assert torch.equal(torch.get_rng_state(), before)


def test_laws_of_each():
    """Together they are the law of all."""
    shapes = [Shape("box", 2), Shape("simplex", 3), Shape("box", 1)]
    agent = Guessing(3, 2, shapes[0], shapes, hidden=(8,), learning_rate=1e-2)
    outputs = torch.randn(3, DRAWS, 10) / 3  # far from the edge, where densities are cut off
    laws, whole = agent._laws(outputs), agent.theirs(outputs)
    done = [law.sample() for law in laws]
    density = sum(law.log_prob(x) for law, x in zip(laws, done, strict=True))
    assert torch.allclose(whole.log_prob(torch.cat(done, -1)), density, atol=1e-3)


def test_rewards_by_equation_7():
    """−mean of ∇r at what was done + mean of ∇r at draws of ρ, weighted by exp(r)/ρ."""
    agent, drawn = guessing(others=1)
    seen, own, other = drawn["seen"], drawn["own"], drawn["other"]
    network = agent.networks["their rewards"]
    torch.manual_seed(7)
    found = gradients(agent.rewards_loss(drawn, BETA), network)
    torch.manual_seed(7)
    wide, wide_own = (x.repeat_interleave(PROPOSALS, 1) for x in (seen, own))
    law = agent.theirs(agent.model(wide))
    could = law.sample()
    r = agent.values("their rewards", wide, wide_own, could) / BETA
    weight = (r.detach() - law.log_prob(could).detach()[..., None]).exp()
    weight = weight.unflatten(1, (DRAWS, PROPOSALS))
    weight = weight / weight.sum(2, keepdim=True)
    below = (weight * r.unflatten(1, (DRAWS, PROPOSALS))).sum(2)
    above = agent.values("their rewards", seen, own, other) / BETA
    wanted = gradients((below - above).sum() / DRAWS, network)
    assert torch.allclose(found, wanted, rtol=1e-3, atol=1e-5)


def test_rewards_explain_what_they_do():
    """By Eq. 6 and 5 in turn, ρ comes to be where the others are."""
    torch.manual_seed(0)
    one, place = Shape("box", 1), 0.5
    agent = Guessing(2, 2, one, [one], hidden=(16, 16), learning_rate=3e-3)
    for _ in range(1200):
        drawn = {
            "seen": torch.zeros(2, 64, 2),
            "own": torch.rand(2, 64, 1) * 2 - 1,
            "other": (place + 0.1 * torch.randn(2, 64, 1)).clamp(-0.99, 0.99),
            "theirs": torch.zeros(2, 64, 1),
            "goes_on": torch.ones(2, 64, 1),
        }
        agent.improve_model(drawn, 0.0, 1.0, 1.0)
    found = agent.others_by_model(torch.zeros(2, 500, 2))
    assert (found.median(1).values - place).abs().max() < 0.1
    assert found.std(1).max() < 0.2  # theirs is .1, and that of even play .58


def watching(*, conditional, gamma=0.0):
    plan = Plan(Settings(gamma=gamma), alpha=lambda k: 0.05, beta=lambda k: 0.05)
    return learner(kind=Watching, conditional=conditional, plan=plan)


def test_who_watches_fits_a_law_where_the_others_must_be_drawn():
    assert "prior" not in watching(conditional=False).networks
    for agent in (watching(conditional=True), watching(conditional=False, gamma=0.9)):
        assert agent.model is agent.prior and "model" not in agent.networks


@pytest.mark.parametrize("conditional", [False, True])
def test_who_watches_answers_what_was_done(conditional):
    """Two others do both .9 or both −.9, which no law of independent numbers says; ρ is one."""
    agent, memory = watching(conditional=conditional), Replay(3, 200, WIDTHS)
    agent.q = lambda seen, own, other, target=False: -20 * (own[..., 0] - other.prod(-1)) ** 2
    for k in range(200):
        step = {name: torch.zeros(3, width) for name, width in WIDTHS.items()}
        memory.add({**step, "other": torch.full((3, 2), 0.9 if k % 2 else -0.9)})
    agent.improve = lambda name, loss: name == "critic" or Learner.improve(agent, name, loss)
    for _ in range(300):
        agent.learn(memory, 0)
    done = torch.full((3, 200, 2), 0.9)
    played = agent.answer(torch.zeros(3, 200, 2), done).sample()
    assert (played.mean((1, 2)) - 0.81).abs().max() < 0.05


class Apart:
    """Ann wants Bob's number and three tenths more; Bob wants −.4 and does not care for Ann."""

    agents = ("ann", "bob")
    horizon = 10

    def initial(self):
        return torch.tensor(0)

    def step(self, state):
        ann = vsg.act("ann", dist.Uniform(-1.0, 1.0))
        bob = vsg.act("bob", dist.Uniform(-1.0, 1.0))
        vsg.optimality("ann", -5 * (ann - bob - 0.3) ** 2)
        vsg.optimality("bob", -5 * (bob + 0.4) ** 2)
        return state


COOLING = Cooling(first=10.0, last=0.02, rate=0.2)


@pytest.mark.parametrize("opponents", ["known", "observed"])
def test_interests_that_are_not_aligned(opponents):
    """Ann ends at −.1, Bob at −.4."""
    found = mai(
        Apart(),
        opponents=opponents,
        episodes=50,
        plays=3,
        temperature=COOLING,
        model_temperature=COOLING,
    )
    for agent, place in (("ann", -0.1), ("bob", -0.4)):
        played = torch.stack([found.policies[agent](torch.zeros(3, 1)) for _ in range(100)])
        assert (played.median(0).values - place).abs().max() < 0.12


@pytest.mark.parametrize("opponents", ["own", "known", "inferred", "observed", "none"])
@pytest.mark.parametrize(
    "options", [{}, {"conditional": False}, {"soft_value": True, "gamma": 0.5}]
)
def test_all_of_them_run(opponents, options):
    found = mai(Apart(), opponents=opponents, episodes=2, steps=3, plays=2, **options)
    assert torch.isfinite(found.rewards).all()


def test_policies_that_do_not_listen():
    agent = learner(others=2, conditional=False)
    seen = torch.randn(3, DRAWS, 2)
    torch.manual_seed(0)
    one = agent.answer(seen, torch.zeros(3, DRAWS, 2)).sample()
    torch.manual_seed(0)
    assert torch.equal(one, agent.answer(seen, torch.ones(3, DRAWS, 2)).sample())
