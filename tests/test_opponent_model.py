"""Eq. 5: models of agents that respond softly to each other, each by its own temperature."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import vsg_ppl as vsg
from vsg_ppl.models import (
    BattleOfTheSexes,
    Chicken,
    MatchingPennies,
    RandomGame,
    StagHunt,
    Thermostat,
)


def eq5(table, model, number):
    """The right side of Eq. 5 for one agent of a discounted game, in NumPy, with r by loops."""
    tau = list(model.temperatures.values())[number]
    laws = [model.policies[agent].numpy() for agent in table.agents]
    prior = model.table.log_priors[number][0, 0].exp().numpy()
    reward = table.rewards[number][0, 0].numpy()
    moves = table.probabilities[0, 0].numpy()
    n, sizes = len(table.states), table.sizes
    paid, law = np.zeros(n), np.zeros((n, n))
    for s in range(n):
        for joint in np.ndindex(*sizes):
            p = np.prod([laws[i][s, a] for i, a in enumerate(joint)])
            paid[s] += p * reward[(s, *joint)]
            law[s] += p * moves[(s, *joint)]
        own = laws[number][s]
        paid[s] -= tau * np.sum(own * np.log(own / prior[s]))
    value = np.linalg.solve(np.eye(n) - table.discount * law, paid)
    out = np.zeros((n, sizes[number]))
    for s in range(n):
        for joint in np.ndindex(*sizes):
            p = np.prod([laws[i][s, a] for i, a in enumerate(joint) if i != number])
            q = reward[(s, *joint)] + table.discount * moves[(s, *joint)] @ value
            out[s, joint[number]] += p * q
    scores = prior * np.exp((out - out.max(-1, keepdims=True)) / tau)
    return scores / scores.sum(-1, keepdims=True)


@pytest.mark.parametrize("seed", range(6))
def test_every_agent_obeys_eq5_by_its_own_temperature_and_prior(seed):
    table = vsg.tabulate(
        RandomGame(states=3, n_agents=2 + seed % 2, actions=2 + seed % 3, seed=seed)
    )
    generator = torch.Generator().manual_seed(seed)
    prior = torch.rand(3, table.sizes[1], generator=generator, dtype=torch.float64) + 0.1
    prior = prior / prior.sum(-1, keepdim=True)
    taus = {agent: 0.4 + 0.3 * k for k, agent in enumerate(table.agents)}
    model = vsg.opponent_model(table, temperature=taus, priors={"agent2": prior})
    assert model.solved
    assert model.temperatures == taus
    for number, agent in enumerate(table.agents):
        found = model.policies[agent].numpy()
        np.testing.assert_allclose(found, eq5(table, model, number), atol=1e-9)


def test_a_known_policy_is_kept_and_answered():
    mine = torch.tensor([[0.3, 0.7], [0.5, 0.5]], dtype=torch.float64)
    game = StagHunt()
    model = vsg.opponent_model(game, "row", policy=mine, temperature=0.5)
    assert torch.equal(model.policies["row"], mine)
    reply = vsg.best_response(game, "col", {"row": mine}, temperature=0.5)
    torch.testing.assert_close(model.policies["col"], reply.policy, atol=1e-12, rtol=0)


def test_one_temperature_is_the_logit_equilibrium():
    model = vsg.opponent_model(Chicken(), temperature=1.0)
    path = vsg.logit_path(Chicken(), 1.0)
    for agent, policy in path.policies.items():
        torch.testing.assert_close(model.policies[agent], policy, atol=1e-8, rtol=0)


def test_where_coordinate_steps_cycle_newton_finds_the_fixed_point():
    game = MatchingPennies(bias=9.0)
    model = vsg.opponent_model(game, temperature=0.2)
    assert model.solved
    assert "Newton" in model.message
    path = vsg.logit_path(game, 0.2)
    for agent, policy in path.policies.items():
        torch.testing.assert_close(model.policies[agent], policy, atol=1e-8, rtol=0)


def test_elbos_rise_with_each_coordinate_step_where_all_want_the_same():
    payoff = torch.rand(1, 4, 3, 3, 3, generator=torch.Generator().manual_seed(2))
    law = torch.full((4, 3, 3, 3, 4), 0.25)
    table = vsg.from_arrays(payoff.expand(3, -1, -1, -1, -1), law, discount=0.8)
    model = vsg.opponent_model(table, temperature=0.3)
    # the shared return less everybody's divergence rises; the agents' own ELBOs follow at the end
    residuals = [entry["residual"] for entry in model.history]
    assert model.solved
    assert residuals[-1] < 1e-10 < residuals[0]


def test_a_horizon_gives_a_row_for_each_time():
    game = Thermostat()
    table = vsg.tabulate(game)
    model = vsg.opponent_model(game, temperature=0.3)
    for number, agent in enumerate(table.agents):
        assert model.policies[agent].shape == (
            table.horizon,
            len(table.states),
            table.sizes[number],
        )
        others = {name: law for name, law in model.policies.items() if name != agent}
        reply = vsg.best_response(game, agent, others, temperature=0.3)
        torch.testing.assert_close(model.policies[agent], reply.policy, atol=1e-9, rtol=0)


def test_it_is_shown_in_a_line():
    model = vsg.opponent_model(Chicken(), temperature=1.0)
    assert repr(model).startswith("OpponentModel(Chicken: solved; residual ")
    assert len(repr(model)) < 120


def test_its_guides_act():
    model = vsg.opponent_model(BattleOfTheSexes(), temperature=1.0)
    guide = vsg.agent_guide(
        BattleOfTheSexes(), "row", model.guide("row"), {"col": model.guide("col")}
    )
    guide()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"temperature": 0.0}, "must be positive"),
        ({"temperature": {"row": 1.0}}, "no temperature is given for 'col'"),
        ({"temperature": {"row": 1.0, "cal": 1.0}}, "no agent 'cal'"),
        ({"policy": torch.tensor([[0.5, 0.5]])}, "no agent whose it is"),
        ({"agent": "cal"}, "no agent 'cal'"),
        ({"priors": {"row": torch.tensor([[0.5, 0.6]])}}, "sum to"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, words):
    with pytest.raises(vsg.GameError, match=words):
        vsg.opponent_model(Chicken(), **arguments)
