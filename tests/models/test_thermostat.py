import pytest

import vsg_ppl as vsg
from tests.models.readings import run
from vsg_ppl.models import Thermostat


def oracle(game, celsius, heat, t):
    """Told again in plain numbers."""
    hour = t % 24
    price = 1.5 if hour in (17, 18, 19, 20) else 0.5
    leak = 0.5 if 8 <= hour < 20 else 0.9
    reward = -game.comfort * abs(celsius - game.target) - price * heat
    law = {}
    for lost, probability in ((0, 1 - leak), (1, leak)):
        following = min(25, max(15, celsius + heat - lost))
        law[following] = law.get(following, 0) + probability
    return law, reward


@pytest.mark.parametrize("game", [Thermostat(), Thermostat(target=19, comfort=0.3, horizon=30)])
def test_every_hour_temperature_and_setting(game):
    for t in range(game.horizon):
        for celsius in range(15, 26):
            for heat in range(3):
                law, rewards = run(game, celsius, {"heater": heat}, t)
                expected, reward = oracle(game, celsius, heat, t)
                assert law == pytest.approx(expected)
                assert rewards["heater"] == pytest.approx(reward)


def test_states():
    table = vsg.tabulate(Thermostat())
    assert list(table.states) == list(range(15, 26))
    assert table.times == table.horizon == 24
    assert table.actions[0].names() == ["OFF", "LOW", "HIGH"]
    assert table.initial[0].nonzero().flatten().tolist() == [18 - 15]


def test_heats_before_the_price_rises():
    """The optimal control, by plain dynamic programming: warmer at 17 o'clock than it needs be."""
    game = Thermostat()
    value = dict.fromkeys(range(15, 26), 0.0)
    policy = {}
    for t in reversed(range(game.horizon)):
        best = {}
        for celsius in value:
            options = []
            for heat in range(3):
                law, reward = oracle(game, celsius, heat, t)
                options.append(reward + sum(p * value[s] for s, p in law.items()))
            best[celsius] = max(options)
            policy[t, celsius] = options.index(best[celsius])
        value = best
    # At the target, an hour before the price rises and in the first dear hour:
    assert policy[16, 21] > policy[17, 21]


def test_target_out_of_range():
    with pytest.raises(vsg.GameError, match="not in 15 to 25"):
        Thermostat(target=30)
