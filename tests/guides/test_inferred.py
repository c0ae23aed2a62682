"""Algorithm 3's model of another agent: by what it seems to want."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import vsg_ppl as vsg
from vsg_ppl.guides import CountedOpponent, InferredOpponent
from vsg_ppl.models import PrisonersDilemma, RandomGame, StagHunt, Thermostat
from vsg_ppl.reading import log_probabilities
from vsg_ppl.simulate import simulate
from vsg_ppl.soft_response import log_likelihood


def seen(table, policies, n, steps, *models):
    """Let models watch plays."""
    plays = simulate(table, policies, n, steps=steps)
    times = torch.arange(steps).expand_as(plays.states).reshape(-1)
    done = {k: plays.actions[agent].reshape(-1) for k, agent in enumerate(table.agents)}
    for model in models:
        model.observe(times, plays.states.reshape(-1), done)


def even(table):
    return {
        agent: log[0].exp().expand(table.horizon or 1, -1, -1).squeeze(0)
        for agent, log in zip(table.agents, table.log_priors, strict=True)
    }


@pytest.mark.parametrize("over", ["action", "joint", "state"])
@pytest.mark.parametrize("game", [RandomGame(states=3, actions=2), StagHunt(), Thermostat()])
def test_refits_end_where_the_posterior_has_its_mode(game, over):
    table = vsg.tabulate(game)
    agent = table.agents[-1]
    model = InferredOpponent(table, agent, temperature=0.7, over=over, scale=0.8, steps=100)
    seen(table, even(table), 20, table.horizon or 10, model)
    for _ in range(5):
        model.refit()
    policies = [counted.log_table().exp()[None] for counted in model.seen]

    def loss(reward):
        log = model._respond(reward, policies)
        counts = model.seen[model.number].observed()
        return -log_likelihood(counts, log) + (reward / 0.8).square().sum() / 2

    slope = torch.autograd.functional.jacobian(loss, model.reward)
    assert slope.abs().max() < 1e-3
    off = loss(model.reward)
    for k in range(model.reward.numel()):  # a minimum, not only a flat place
        step = torch.zeros(model.reward.numel(), dtype=torch.float64)
        step[k] = 0.01
        assert loss(model.reward + step.reshape(model.reward.shape)) > off


def test_what_is_wanted_is_found_from_actions_alone():
    """The same play, another reward in the table: the same model, to the bit."""
    table = vsg.tabulate(RandomGame(states=3))
    other = replace(table, rewards=(table.rewards[0], torch.rand_like(table.rewards[1])))
    models = [InferredOpponent(t, "agent2", temperature=0.5) for t in (table, other)]
    seen(table, even(table), 10, 10, *models)
    for model in models:
        model.refit()
    assert torch.equal(models[0].log_table(), models[1].log_table())


def test_it_predicts_where_counting_knows_nothing():
    """A corridor, walked from the left end: what to do at the right end follows from the goal."""
    n = 9
    left, right = torch.eye(n).roll(1, 0), torch.eye(n).roll(1, 1)
    left[0], right[-1] = torch.eye(n)[0], torch.eye(n)[-1]
    moves = torch.stack([left, right], 1).double()
    goal = torch.zeros(1, n, 2, dtype=torch.float64)
    goal[0, 4] = 1.0
    first = torch.eye(n, dtype=torch.float64)[0]
    table = vsg.from_arrays(goal, moves, discount=0.9, initial=first, agents=("walker",))
    truth = vsg.opponent_model(table, temperature=0.1).policies["walker"]
    hidden = replace(table, rewards=(torch.zeros_like(table.rewards[0]),))
    by_reward = InferredOpponent(
        hidden, "walker", temperature=0.1, over="state", scale=1.0, steps=50
    )
    by_counts = CountedOpponent(table, "walker")
    plays = simulate(table, {"walker": truth}, 30, steps=6)  # ends before the far right
    times = torch.arange(6).expand_as(plays.states).reshape(-1)
    states, actions = plays.states.reshape(-1), plays.actions["walker"].reshape(-1)
    by_counts.observe(times, states, actions)
    by_reward.observe(times, states, {0: actions})
    by_reward.refit()
    unseen = [s for s in range(n) if s not in states.tolist()]
    assert unseen
    worth = [model.log_table()[0, unseen, 0].exp().mean() for model in (by_counts, by_reward)]
    assert float(worth[0]) == pytest.approx(0.5)
    assert truth[unseen, 0].min() > 0.6 and worth[1] > 0.6


def test_as_a_program_it_is_its_table():
    for game in (PrisonersDilemma(), Thermostat()):
        table = vsg.tabulate(game)
        agent = table.agents[0]
        model = InferredOpponent(table, agent, temperature=0.5)
        seen(table, even(table), 20, table.horizon or 10, model)
        model.refit()
        found = log_probabilities(table, agent, lambda state, t: model(state, t))  # noqa: B023
        torch.testing.assert_close(
            found.expand_as(model.log_table()[None]), model.log_table()[None]
        )
