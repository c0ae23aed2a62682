"""MADDPG and independent DDPG: gradients, whose target policies are read, and what is learnt."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

import vsg_ppl as vsg
from tests.test_mai import Meeting, Pair
from vsg_ppl.arena import Arena
from vsg_ppl.ddpg import Deterministic, Everyone, _Agents, iddpg, maddpg
from vsg_ppl.guides.actions import Shape
from vsg_ppl.learner_networks import PENALTY
from vsg_ppl.team import Team

DRAWS = 5


def agents(groups=3, seen=2, own=1, others=2):
    torch.manual_seed(1)
    return Deterministic(groups, seen, Shape("box", own), others, hidden=(8, 8), learning_rate=1e-2)


@pytest.mark.parametrize("others", [0, 2])
def test_the_policy_gradient(others):
    """∇π · ∇_x Q(s, x, o) at x = π(s), by the chain rule, one learner at a time."""
    agent, seen, other = agents(others=others), torch.randn(3, DRAWS, 2), torch.rand(3, DRAWS, 2)
    given = [other] if others else []
    policy = agent.networks["policy"]
    found = torch.autograd.grad(agent.policy_loss(seen, *given), list(policy.parameters()))
    before = policy(seen)
    own = before.detach().tanh().requires_grad_()
    (slope,) = torch.autograd.grad(agent.q(seen, own, *given).sum(), own)
    for g in range(3):
        weight = -slope * (1 - own.detach() ** 2) + 2 * PENALTY * before.detach()
        wanted = torch.autograd.grad(
            (weight * before)[g].sum() / DRAWS, list(policy.parameters()), retain_graph=True
        )
        for x, y in zip(found, wanted, strict=True):
            assert torch.allclose(x[g], y[g], atol=1e-6)


def test_learners_share_nothing():
    ends = []
    for scale in (1.0, 5.0):
        agent = agents()
        torch.manual_seed(3)
        seen, other = torch.randn(3, DRAWS, 2), torch.rand(3, DRAWS, 2)
        seen[1:] *= scale
        agent.improve("policy", lambda a=agent, s=seen, o=other: a.policy_loss(s, o))
        ends.append([x.detach().clone() for x in agent.networks["policy"].parameters()])
    assert all(torch.allclose(one[0], two[0], atol=1e-6) for one, two in zip(*ends, strict=True))
    assert any(not torch.allclose(one[1:], two[1:]) for one, two in zip(*ends, strict=True))


def test_only_the_policy_moves():
    agent, seen, other = agents(), torch.randn(3, DRAWS, 2), torch.rand(3, DRAWS, 2)
    before = {
        name: torch.cat([x.detach().flatten() for x in network.parameters()])
        for name, network in agent.networks.items()
    }
    agent.improve("policy", lambda: agent.policy_loss(seen, other))
    for name, network in agent.networks.items():
        after = torch.cat([x.detach().flatten() for x in network.parameters()])
        assert torch.equal(after, before[name]) == (name != "policy")


def test_the_others_target_policies():
    """Each agent is answered by those of its own play, by what they see where it has drawn."""
    torch.manual_seed(0)
    arena, everyone, plays = Arena(Meeting(), 4), Everyone(), 4
    arena.reset()
    made = {}

    def make(team):
        learner = Deterministic(
            team.groups,
            team.seen,
            team.own,
            sum(shape.width for shape in team.others),
            hidden=(8,),
            learning_rate=0.1,
        )
        everyone.teams.append((team, learner))
        for i, agent in enumerate(team.agents):
            made[agent] = learner, i * plays
        return learner

    teams = [Team(arena, names, make, memory=1) for names in (["ann", "bob"], ["cy"])]
    for team in teams:
        seen = torch.randn(team.groups, DRAWS, 3)
        found = everyone.next(team, seen)
        assert found.shape == (team.groups, DRAWS, 4 - team.own.width)
        for i, agent in enumerate(team.agents):
            for k in range(plays):
                rows = []
                for other in (name for name in Meeting.agents if name != agent):
                    learner, first = made[other]
                    asked = torch.zeros(learner.networks["policy"].weights[0].shape[0], DRAWS, 1)
                    asked[first + k] = seen[i * plays + k][:, [Meeting.agents.index(other)]]
                    rows.append(learner.next(asked)[first + k])
                wanted = torch.cat(rows, -1)
                assert torch.allclose(found[i * plays + k], wanted, atol=1e-6)


SIGHTS = {"ann": [1.0], "bob": [2.0], "cy": [3.0, 4.0]}


class Apart:
    """A parallel environment where everybody sees constants of its own."""

    metadata = {"name": "apart"}  # noqa: RUF012

    def __init__(self, agents):
        self.possible_agents, self.agents = list(agents), []

    def observation_space(self, agent):
        return spaces.Box(-9.0, 9.0, (len(SIGHTS[agent]),))

    def action_space(self, agent):
        return spaces.Box(-1.0, 1.0, (1,))

    def reset(self, seed=None, options=None):
        self.agents = list(self.possible_agents)
        return self._seen(), {agent: {} for agent in self.agents}

    def step(self, actions):
        told = ({agent: value for agent in self.agents} for value in (0.0, False, False, {}))
        return self._seen(), *told

    def _seen(self):
        return {agent: np.array(SIGHTS[agent], np.float32) for agent in self.agents}


@pytest.mark.parametrize("agents", [("ann", "bob"), ("ann", "cy"), ("cy", "ann", "bob")])
def test_target_policies_are_asked_by_what_each_agent_sees(agents, monkeypatch):
    """Constants of its own, of which some have more than others."""
    plays, asked, ask = 2, [], Deterministic.next

    def watched(learner, seen):
        asked.append((learner.team, seen))
        return ask(learner, seen)

    monkeypatch.setattr(Deterministic, "next", watched)
    options = {"episodes": 1, "steps": 3, "plays": plays, "start": "networks"}
    assert torch.isfinite(maddpg(Apart(agents), gamma=0.9, **options).rewards).all()
    assert {agent for team, _ in asked for agent in team.agents} == set(agents)
    for team, seen in asked:
        for agent, rows in zip(team.agents, seen.split(plays), strict=True):
            assert torch.equal(rows, torch.tensor(SIGHTS[agent]).expand_as(rows))


@pytest.mark.parametrize(("method", "gamma"), [(maddpg, 0.9), (maddpg, 0.0), (iddpg, 0.9)])
def test_what_all_see_is_remembered_where_it_is_asked_for(method, gamma, monkeypatch):
    parts = []
    monkeypatch.setattr(_Agents, "learn", lambda self, memory, episode: parts.append(memory.parts))
    method(Meeting(), episodes=1, steps=1, gamma=gamma, start="networks")
    for part in parts:
        assert ("all_next" in part) == (method is maddpg and gamma > 0)
        assert "episode" not in part


@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (0, 1), (2,)])
def test_rows_of_a_policy_are_as_many_for_each_play(shape):
    found = iddpg(Pair(), episodes=1, steps=1, plays=2)
    with pytest.raises(vsg.GameError, match=r"a policy of 2 plays is asked about \("):
        found.policies["ann"](torch.zeros(shape))
    assert found.policies["ann"](torch.zeros(4, 1)).shape == (4, 1)


def test_noise_only_while_learning():
    quiet, loud = (
        iddpg(Pair(), episodes=2, steps=2, plays=50, start=0.0, noise=noise) for noise in (0.0, 0.5)
    )
    assert quiet.rewards[0].std() < 0.05 < loud.rewards[0].std()
    play, seen = loud.policies["ann"], torch.zeros(50, 1)
    assert torch.equal(play(seen), play(seen))


@pytest.mark.parametrize("gamma", [0.0, 0.3])
@pytest.mark.parametrize("method", [maddpg, iddpg])
def test_a_common_place_is_found(method, gamma):
    """Even random actions are worth −1.8."""
    found = method(Pair(), episodes=40, plays=3, gamma=gamma)
    assert found.rewards[0].mean() < -1.0
    assert found.final().min() > -0.4


def test_negative_noise():
    with pytest.raises(vsg.GameError, match="the noise is -0.1; it must not be negative"):
        maddpg(Pair(), episodes=1, noise=-0.1)
