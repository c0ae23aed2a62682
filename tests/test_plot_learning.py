"""The picture of learning curves."""

from __future__ import annotations

import pytest
import torch

import vsg_ppl as vsg
from vsg_ppl.learning import Learning
from vsg_ppl.plot_learning import plot_learning


def learning(method, plays=9, level=0.0):
    rewards = torch.arange(20.0)[:, None, None] + torch.arange(plays)[None, :, None] + level
    return Learning(None, method, ("a", "b"), rewards.expand(20, plays, 2))


def test_the_median_and_the_band():
    figure = plot_learning([learning("mai"), learning("sac", level=100.0)], above=20.0)
    axis = figure.axes[0]
    one, other, wanted = axis.get_lines()
    assert one.get_ydata().tolist() == [k + 4.0 for k in range(20)]
    assert other.get_ydata()[0] == 104.0
    assert wanted.get_ydata()[0] == 20.0
    # the last ten episodes of experiment k are worth 14.5 + k
    assert one.get_label() == "mai: 3 of 9 end above 20"
    band = axis.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(0.8) and band[:, 1].max() == pytest.approx(19 + 7.2)


def test_one_experiment_has_no_band(tmp_path):
    figure = plot_learning(learning("mai", plays=1), tmp_path / "curve.png")
    assert len(figure.axes[0].collections) == 0
    assert (tmp_path / "curve.png").stat().st_size > 5000


def test_what_cannot_be_drawn(tmp_path):
    with pytest.raises(vsg.GameError, match="nothing to draw"):
        plot_learning([])
    with pytest.raises(vsg.GameError, match="not the name of a picture"):
        plot_learning(learning("mai"), tmp_path / "curve.txt")
