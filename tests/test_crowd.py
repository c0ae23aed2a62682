"""What a step sees of the crowd, against sums over its law."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vsg_ppl.crowd import Crowd
from vsg_ppl.errors import GameError
from vsg_ppl.states import States
from vsg_ppl.table import Actions

GRID = States((0, 0), torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1], [2, 1]]))
TWO = Actions(("x", "y"), (2, 3), (("0", "1"), ("0", "1", "2")))
ONE = Actions(("a",), (6,), (tuple("012345"),))


def law(seed, times=1):
    draw = torch.rand(times, 30, generator=torch.Generator().manual_seed(seed)).double()
    return (draw / draw.sum(-1, keepdim=True)).reshape(times, 5, 6)


@given(st.integers(0, 50))
def test_shares(seed):
    joint = law(seed)
    crowd = Crowd(GRID, ONE, joint)
    for k, state in enumerate(GRID):
        assert float(crowd.at(state)) == pytest.approx(float(joint[0, k].sum()), abs=1e-15)
        for a in range(6):
            assert float(crowd.at(state, a)) == pytest.approx(float(joint[0, k, a]), abs=1e-15)
    assert float(crowd.at((2, 0))) == 0.0  # nobody can be there
    assert float(crowd.at((7, -3))) == 0.0
    rows, columns = torch.arange(3)[:, None], torch.arange(2)
    shares = crowd.at((rows, columns))
    assert shares.shape == (3, 2) and float(shares.sum()) == pytest.approx(1.0)


@given(st.integers(0, 50))
def test_shares_of_several_sites(seed):
    joint = law(seed)
    crowd = Crowd(GRID, TWO, joint)
    for x in range(2):
        for y in range(3):
            found = crowd.at((1, 1), {"x": x, "y": torch.tensor(y)})
            assert float(found) == pytest.approx(float(joint[0, 3, 3 * x + y]), abs=1e-15)


@given(st.integers(0, 50))
def test_means(seed):
    joint, values = law(seed), GRID.values.double()
    crowd, mu = Crowd(GRID, TWO, joint), joint[0].sum(-1)
    assert float(crowd.mean(lambda cell: cell[0])) == pytest.approx(float(mu @ values[:, 0]))
    assert float(crowd.mean(lambda cell: 1.0)) == pytest.approx(1.0)
    assert float(crowd.mean(lambda cell, act: act["y"] == 2)) == pytest.approx(
        float(joint[0].reshape(5, 2, 3)[..., 2].sum())
    )
    own = torch.arange(4).double()
    apart = crowd.mean(lambda cell: (cell[1] - own).abs())
    want = (mu[:, None] * (values[:, 1, None] - own).abs()).sum(0)
    torch.testing.assert_close(apart, want)
    both = crowd.mean(lambda cell, act: (cell[0] == own[:, None]) * act["x"] * own)
    spread = joint[0].reshape(5, 2, 3)[:, 1].sum(-1)
    want = ((values[:, 0, None] == own) * spread[:, None]).sum(0)[:, None] * own
    torch.testing.assert_close(both, want)


def test_rows_have_times_of_their_own():
    joint = law(4, times=3)
    rows = torch.tensor([0, 0, 1, 2, 2])
    crowd = Crowd(GRID, ONE, joint, rows)
    state = (torch.tensor([0, 0, 1, 1, 2]), torch.tensor([0, 1, 0, 1, 1]))
    torch.testing.assert_close(crowd.at(state), joint.sum(-1)[rows, torch.arange(5)])
    torch.testing.assert_close(crowd.at(state, 2), joint[rows, torch.arange(5), 2])
    means = crowd.mean(lambda cell: cell[0])
    torch.testing.assert_close(means, (joint.sum(-1) @ GRID.values[:, 0].double())[rows])
    own = torch.arange(5).double()
    torch.testing.assert_close(crowd.mean(lambda cell: cell[0] * own), means * own)
    square = crowd.mean(lambda cell, act: crowd.at(cell, act))
    torch.testing.assert_close(square, (joint**2).sum((1, 2))[rows])


def test_derivatives():
    joint = law(1).requires_grad_()
    crowd = Crowd(GRID, ONE, joint)
    (slope,) = torch.autograd.grad(crowd.at((1, 0)), joint)
    want = torch.zeros_like(joint)
    want[0, 2] = 1.0
    torch.testing.assert_close(slope, want)
    (slope,) = torch.autograd.grad(crowd.mean(lambda cell: cell[0]), joint)
    torch.testing.assert_close(slope[0], GRID.values[:, :1].double().expand(-1, 6))


def test_errors():
    crowd = Crowd(GRID, TWO, law(0))
    for match, ask in (
        ("a state of structure integer was given", lambda: crowd.at(1)),
        ("the action sites are x, y", lambda: crowd.at((0, 0), 1)),
        ("the action sites are x, y", lambda: crowd.at((0, 0), {"x": 1})),
        ("an action of 'y' that is not among its 3", lambda: crowd.at((0, 0), {"x": 1, "y": 3})),
        ("an action of 'x' that is not", lambda: crowd.at((0, 0), {"x": 0.5, "y": 1})),
    ):
        with pytest.raises(GameError, match=match):
            ask()
