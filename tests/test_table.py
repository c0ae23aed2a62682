import pytest
import torch

import vsg_ppl as vsg
from vsg_ppl import models
from vsg_ppl.table import Actions


def test_actions_are_counted_with_the_last_site_fastest():
    actions = Actions(("hand", "foot"), (2, 3), (("left", "right"), ("a", "b", "c")))
    assert actions.size == 6
    assert actions.names() == ["left,a", "left,b", "left,c", "right,a", "right,b", "right,c"]


def test_summary_counts():
    table = vsg.tabulate(models.Soccer(rows=2, columns=3))
    summary = table.summary()
    assert (summary["states"], summary["joint_actions"]) == (61, 25)
    assert summary["actions"] == {"a": 5, "b": 5}
    tensors = [*table.rewards, *table.log_priors, table.probabilities, table.initial]
    tensors.append(table.successors)
    assert summary["bytes"] == 8 * sum(tensor.numel() for tensor in tensors)


def test_a_program_and_its_arrays_are_one_game():
    game = models.RandomGame(states=3, n_agents=3, actions=2)
    table = vsg.tabulate(game)
    arrays = vsg.from_arrays(
        game.arrays.rewards, game.arrays.transitions, discount=game.discount, agents=game.agents
    )
    policies = {agent: torch.tensor([[0.2, 0.8]] * 3) for agent in game.agents}
    one, other = vsg.certify(table, policies), vsg.certify(arrays, policies)
    assert one.values == pytest.approx(other.values, abs=1e-12)
    assert one.nash_gap == pytest.approx(other.nash_gap, abs=1e-12)


def test_one_shot_arrays():
    """Without transitions the first state is drawn and there is one step."""
    rewards = torch.tensor([[[1.0, 2.0], [3.0, 5.0]]])
    table = vsg.from_arrays(rewards, horizon=1, initial=torch.tensor([0.25, 0.75]))
    policy = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    certificate = vsg.certify(table, {"agent1": policy})
    assert certificate.values["agent1"] == pytest.approx(0.25 * 1 + 0.75 * 5)
    assert certificate.nash_gap == pytest.approx(0.25)


def test_arrays_in_single_precision_are_normalised():
    law = torch.tensor([0.1, 0.2, 0.7])
    assert law.double().sum() != 1.0
    table = vsg.from_arrays(torch.zeros(1, 3, 2), horizon=1, initial=law)
    assert table.initial.sum() == pytest.approx(1.0, abs=1e-15)
    moves = law.expand(3, 2, 3)
    total = vsg.from_arrays(torch.zeros(1, 3, 2), moves, discount=0.5).probabilities.sum(-1)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-15)


def test_times_and_batch():
    assert vsg.tabulate(models.StagHunt()).times == 1
    assert vsg.tabulate(models.Thermostat(horizon=5)).times == 5
    batch = vsg.from_arrays(torch.zeros(7, 2, 1, 2, 2), batched=True)
    assert (batch.batch, batch.times, batch.horizon) == (7, 1, 1)


def test_to_a_device_keeps_everything():
    table = vsg.tabulate(models.Thermostat(horizon=3))
    moved = table.to("meta")
    assert moved.device.type == "meta" and moved.reachable.device.type == "meta"
    assert all(reward.device.type == "meta" for reward in moved.rewards)
    assert vsg.tabulate(models.Thermostat(horizon=3), device="cpu").device.type == "cpu"
