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
