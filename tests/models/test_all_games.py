"""What holds of every bundled game."""

import dataclasses
import doctest
import importlib
import inspect
import random
import re
from itertools import chain, product
from pathlib import Path

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine

import vsg_ppl as vsg
from tests.bundled import instances
from tests.models.readings import look_up, run
from vsg_ppl import models
from vsg_ppl.game import call
from vsg_ppl.handlers import at_time
from vsg_ppl.structure import leaves

SMALL = {
    "congestion": models.Congestion(n_agents=3, facilities=3),
    "grid": models.GridGame(crash=0.3, slip=0.2),
    "soccer": models.Soccer(rows=2, columns=3),
}
PLAYED = instances(SMALL)
FILES = sorted(
    path.stem
    for path in Path(models.__file__).resolve().parent.glob("*.py")
    if path.stem != "__init__"
)


def test_every_file_is_a_game_of_the_registry():
    games = models.GAMES | models.CONTINUOUS_GAMES
    assert sorted(games) == [name for name in FILES if name != "arrays"]
    for name, game in games.items():
        assert game.__module__ == f"vsg_ppl.models.{name}"


def test_every_name_in_all_resolves():
    assert [name for name in models.__all__ if not hasattr(models, name)] == []
    assert {game.__name__ for game in models.GAMES.values()} < set(models.__all__)


@pytest.mark.parametrize("file", FILES)
def test_examples_run(file):
    module = importlib.import_module(f"vsg_ppl.models.{file}")
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("name", models.GAMES)
def test_documented(name):
    text = inspect.getdoc(models.GAMES[name])
    assert "Equilibria:" in text and "Source:" in text
    listed = re.findall(r"^    (\w+): ", text, flags=re.M)
    assert listed == [field.name for field in dataclasses.fields(models.GAMES[name])]


@pytest.mark.parametrize("name", models.GAMES)
def test_parameters_can_be_set_from_a_command_line(name):
    game = models.GAMES[name]
    assert game.__dataclass_params__.frozen
    for field in dataclasses.fields(game):
        assert type(field.default) in (int, float, str, bool)
    assert game() == game()


@pytest.mark.parametrize("name", models.GAMES)
def test_is_a_game(name):
    game = PLAYED[name]
    assert isinstance(game, vsg.Game)
    assert len(set(game.agents)) == len(game.agents)


@pytest.mark.parametrize("name", models.GAMES)
def test_can_be_played(name):
    """The program runs as plain Pyro, unrolled in time, every agent acting and being paid."""
    game = PLAYED[name]
    program = vsg.unroll(game, getattr(game, "horizon", None) or 2)
    names = set(poutine.trace(program).get_trace().nodes)
    for agent, sites in sites_of(game).items():
        assert names.issuperset(f"{site}_0" for site in sites)
        assert any(name.startswith(f"O_{agent}") for name in names)


@pytest.mark.parametrize("name", models.GAMES)
def test_many_plays_at_once(name):
    """In a plate, as vectorised particles are: each play goes its own way."""
    game = PLAYED[name]
    with pyro.plate("plays", 7), poutine.trace() as trace:
        state = game.initial()
        for t in range(getattr(game, "horizon", None) or 3):
            with at_time(t):
                state = call(game.step, state, t=t)
    for leaf in leaves(state):
        assert leaf.expand(7).dtype == torch.long
    for site in chain(*sites_of(game).values()):
        assert trace.trace.nodes[f"{site}_0"]["value"].shape == (7,)


@pytest.mark.parametrize("name", models.GAMES)
def test_table_has_probabilities(name):
    table = vsg.tabulate(PLAYED[name])
    assert (table.probabilities >= 0).all()
    total = table.probabilities[0].sum(-1)
    if table.reachable is not None:  # a state that cannot occur at a time need not go anywhere
        total = total[table.reachable[: len(total)]]
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-12)
    torch.testing.assert_close(table.initial.sum(), torch.tensor(1.0, dtype=torch.float64))
    for log_prior in table.log_priors:
        total = log_prior.exp().sum(-1)
        torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", models.GAMES)
def test_labels_fit_the_actions(name):
    table = vsg.tabulate(PLAYED[name])
    for actions in table.actions:
        assert len(set(actions.names())) == actions.size


@pytest.mark.parametrize("name", models.GAMES)
def test_table_says_what_the_program_does(name):
    """One enumerated run over all states agrees with plain runs, outcome by outcome."""
    game = PLAYED[name]
    table = vsg.tabulate(game)
    cases = list(product(range(len(table.states)), *map(range, table.sizes)))
    for k, *actions in random.Random(0).sample(cases, min(len(cases), 150)):
        for t in {0, table.times // 2, table.times - 1}:
            if table.reachable is not None and not table.reachable[t, k]:
                continue
            chosen = {
                site: int(choice)
                for own, action in zip(table.actions, actions, strict=True)
                for site, choice in zip(own.sites, np.unravel_index(action, own.sizes), strict=True)
            }
            law, rewards = run(game, table.states[k], chosen, t)
            found_law, found_rewards = look_up(table, k, tuple(actions), t)
            if is_last(table, t):
                law, found_law = {}, {}
            assert found_law == pytest.approx(law, abs=1e-12)
            assert found_rewards == pytest.approx([rewards[a] for a in game.agents], abs=1e-12)


def sites_of(game):
    """The action sites of each agent."""
    table = vsg.tabulate(game)
    return {agent: own.sites for agent, own in zip(table.agents, table.actions, strict=True)}


def is_last(table, t):
    """Whether what the step returns at this time is not used."""
    return table.horizon is not None and t == table.horizon - 1
