"""Hypotheses about an agent: the right one has the evidence, and the evidence is right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoDelta
from scipy import stats

import vsg_ppl as vsg
from tests.soft_brute import log_likelihood, random_dense, soft_policy
from vsg_ppl.errors import GameError
from vsg_ppl.models import PrisonersDilemma, StagHunt
from vsg_ppl.simulate import simulate
from vsg_ppl.soft_response import soft_response


def plays_of(game, want, seed, n=40, temperature=0.7):
    """`col` acts softly by its own pay, by everybody's, or at random; `row` by its prior."""
    table = vsg.tabulate(game)
    laws = [prior.exp() for prior in table.log_priors]
    wanted = {"own": table.rewards[1], "welfare": sum(table.rewards), "random": table.rewards[1]}
    moved = replace(table, rewards=(table.rewards[0], wanted[want]))
    tau = 1e9 if want == "random" else temperature
    law = soft_response(moved, laws, 1, tau).exp()
    policies = {"row": laws[0][0], "col": law[0]}
    if table.horizon is None:
        policies = {agent: policy[0] for agent, policy in policies.items()}
    steps = 1 if table.horizon == 1 else 3
    return simulate(table, policies, n, steps=steps, seed=seed)


@pytest.mark.parametrize("game", [PrisonersDilemma(), StagHunt()], ids=lambda g: type(g).__name__)
@pytest.mark.parametrize("want", ["own", "welfare", "random"])
def test_each_kind_of_agent_is_recognised(game, want):
    if want == "welfare" and isinstance(game, StagHunt):
        game = PrisonersDilemma()  # in the hunt both like the same
    for seed in range(2):
        found = vsg.compare_hypotheses(
            game, "col", plays_of(game, want, seed, n=150), samples=10, restarts=0
        )
        assert found.best == want
        assert sum(found.probabilities.values()) == pytest.approx(1.0)
        assert found.probabilities[want] == max(found.probabilities.values()) > 0.5
        assert set(found.found) == {"own", "welfare", "random"}


def beauty():
    """A game of two in which each level of thinking plays something else."""
    dense = random_dense(0, (3, 3), 1, 1)
    # row wants to be one ahead of col, col one ahead of row; both have a leaning to begin with
    row = np.array([[0.0, 0.0, 3.0], [3.0, 0.0, 0.0], [0.0, 3.0, 0.0]])
    col = np.array([[0.0, 3.0, 0.0], [0.0, 0.0, 3.0], [3.0, 0.0, 0.0]])
    lean = np.array([[[0.7, 0.2, 0.1]]])
    return replace(dense, rewards=[row[None, None], col[None, None]], priors=[lean, lean])


@pytest.mark.parametrize("level", [1, 2])
def test_levels_of_thinking_are_told_apart(level):
    """One thinks a step, responding to the priors; the other two, responding to that."""
    dense, tau = beauty(), 0.6
    laws = list(dense.priors)
    for _ in range(level):
        laws = [np.exp(soft_policy(dense, laws, i, tau)[0]) for i in range(2)]
    table = dense.table()
    seen = vsg.Observations(table)
    rng = np.random.default_rng(level)
    actions = torch.tensor(rng.choice(3, 40, p=laws[0][0, 0] / laws[0].sum()))
    zeros = torch.zeros(40, dtype=torch.long)
    seen.add(states=zeros, times=zeros, actions={"agent1": actions})
    prior = dist.LogNormal(torch.tensor(-0.5).double(), 0.5)
    found = vsg.compare_hypotheses(
        table,
        "agent1",
        seen,
        {f"level {k + 1}": {"others": k} for k in range(2)},
        reward="program",
        temperature=prior,
        samples=20,
    )
    assert found.best == f"level {level}"
    assert found.probabilities[found.best] > 0.9
    for k, name in enumerate(("level 1", "level 2")):
        grid = np.linspace(-3.0, 2.0, 601)
        joint = []
        for z in grid:
            below = list(dense.priors)
            for _ in range(k):
                below = [np.exp(soft_policy(dense, below, i, np.exp(z))[0]) for i in range(2)]
            log = soft_policy(dense, below, 0, np.exp(z))[0]
            joint.append(log_likelihood(seen.counts["agent1"].numpy(), log))
        joint = np.array(joint) + stats.norm.logpdf(grid, -0.5, 0.5)
        top = joint.max()
        integral = np.log(np.exp(joint - top).sum() * (grid[1] - grid[0])) + top
        assert found.log_evidence[name] == pytest.approx(integral, abs=0.15)


def test_evidence_against_a_grid():
    """Own reward, everybody's and none, each at a temperature with a prior; dynamics too."""
    game = StagHunt()
    table, plays = vsg.tabulate(game), plays_of(game, "own", 4)
    seen = vsg.Observations.of(table, plays)
    prior = dist.LogNormal(torch.tensor(0.0).double(), 0.7)
    found = vsg.compare_hypotheses(game, "col", plays, samples=10, temperature=prior)
    laws = [seen.smoothed(agent, 2.0) for agent in table.agents]
    grid = np.linspace(-4.0, 4.0, 400)
    for name in ("own", "welfare"):
        reward = table.rewards[1] if name == "own" else sum(table.rewards)
        wanted = replace(table, rewards=(table.rewards[0], reward))
        joint = []
        for z in grid:
            log = soft_response(wanted, laws, 1, float(np.exp(z)))[0].numpy()
            joint.append(log_likelihood(seen.counts["col"].numpy(), log))
        joint = np.array(joint) + stats.norm.logpdf(grid, 0.0, 0.7)
        top = joint.max()
        integral = np.log(np.exp(joint - top).sum() * (grid[1] - grid[0])) + top
        assert found.log_evidence[name] == pytest.approx(integral, abs=0.1)
    by_chance = np.log(0.5) * seen.steps
    assert found.log_evidence["random"] == pytest.approx(by_chance, abs=1e-9)
    logs = np.array(list(found.log_evidence.values()))
    weights = np.exp(logs - logs.max())
    np.testing.assert_allclose(list(found.probabilities.values()), weights / weights.sum())


def test_trajectories_are_read_once_for_each():
    """A generator is spent after one reading."""
    steps = [[(0, {"row": 0, "col": 1})] for _ in range(9)]
    hypotheses = {"own": {"reward": "program"}, "random": {"reward": "random"}}
    found = [
        vsg.compare_hypotheses(PrisonersDilemma(), "col", play, hypotheses, samples=5)
        for play in (steps, iter(steps))
    ]
    assert found[0].log_evidence == found[1].log_evidence
    on_table = vsg.compare_hypotheses(
        vsg.tabulate(PrisonersDilemma()), "col", iter(steps), hypotheses, samples=5
    )
    assert on_table.log_evidence == found[0].log_evidence
    assert "random 1" in repr(found[0]) or "own" in repr(found[0]).split(",")[0]


def test_errors():
    play = [[(0, {"row": 0, "col": 1})]]
    for hypotheses, common, match in (
        ({}, {}, "no hypotheses"),
        (None, {"method": "nuts"}, "gives no evidence"),
        ({"one": {"method": "nuts"}}, {}, "gives no evidence"),
        ({"one": {"reward": "wealth"}}, {}, "no reward model is named"),
        ({"one": {"method": "svi", "guide": AutoDelta, "steps": 2}}, {}, "no evidence.*'one'"),
    ):
        with pytest.raises(GameError, match=match):
            vsg.compare_hypotheses(PrisonersDilemma(), "col", play, hypotheses, **common)
    with pytest.raises(GameError, match="no action of 'row'"):
        vsg.compare_hypotheses(PrisonersDilemma(), "row", [[(0, {"col": 1})]])
