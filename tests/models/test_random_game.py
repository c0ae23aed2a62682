import pytest
import torch

import vsg_ppl as vsg
from vsg_ppl.models import RandomGame


def test_shapes():
    table = vsg.tabulate(RandomGame(states=5, n_agents=3, actions=2))
    assert [tuple(r.shape) for r in table.rewards] == [(1, 1, 5, 2, 2, 2)] * 3
    assert list(table.states) == list(range(5))
    assert table.initial[0].tolist() == [0.2] * 5
    assert (table.probabilities > 0).all() and table.probabilities.shape[-1] == 5


def test_the_same_seed_is_the_same_game():
    one, state = RandomGame(seed=3), torch.random.get_rng_state()
    torch.rand(7)
    two = RandomGame(seed=3)
    assert torch.equal(one.arrays.rewards, two.arrays.rewards)
    assert torch.equal(one.arrays.transitions, two.arrays.transitions)
    assert not torch.equal(one.arrays.rewards, RandomGame(seed=4).arrays.rewards)
    torch.random.set_rng_state(state)
    expected = torch.rand(3)
    torch.random.set_rng_state(state)
    _ = RandomGame(seed=5).arrays
    assert torch.equal(torch.rand(3), expected)  # it leaves the global generator alone


def test_laws():
    """Moments of U[0, 1] and of the uniform law on the simplex."""
    arrays = RandomGame(states=10, n_agents=2, actions=20).arrays
    assert arrays.rewards.mean().item() == pytest.approx(1 / 2, abs=0.02)
    assert arrays.rewards.var().item() == pytest.approx(1 / 12, abs=0.005)
    n = 10
    assert arrays.transitions.mean().item() == pytest.approx(1 / n, abs=1e-12)
    assert arrays.transitions.var().item() == pytest.approx((n - 1) / n**2 / (n + 1), rel=0.05)


@pytest.mark.parametrize("parameter", ["states", "n_agents", "actions"])
def test_nothing_there(parameter):
    with pytest.raises(vsg.GameError, match="at least one"):
        RandomGame(**{parameter: 0})
