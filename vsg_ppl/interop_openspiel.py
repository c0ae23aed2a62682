"""Games of OpenSpiel as tables, by exploring them.

OpenSpiel: M. Lanctot et al., 2019, "OpenSpiel: A framework for reinforcement learning in games".
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import isclose, log, prod
from random import Random
from typing import Any

import torch
from torch import Tensor

from vsg_ppl.errors import GameError, MissingExtra
from vsg_ppl.join import with_reachable
from vsg_ppl.states import States
from vsg_ppl.table import Actions, Table
from vsg_ppl.tabulate import allowance

LOOK_AHEAD = 100
"""Moves of the random play by which two histories of one text are compared."""


@dataclass(frozen=True, eq=False)
class SpielTable(Table):
    """The table of an OpenSpiel game.

    Attributes:
        texts: what OpenSpiel prints of each state, in the order of ``states``. Tables in files lack
            it.
    """

    texts: tuple[str, ...] = ()


def from_openspiel(game: Any, *, max_states: int = 100_000, merge: bool = True) -> SpielTable:
    """The table of a game of OpenSpiel's with perfect information, simultaneous moves included.

    A state is a node at which somebody chooses; the moves of chance between two such nodes become
    transition probabilities. Its label is ``(t, k)``: the kth state after t decisions; and
    ``texts`` tells what OpenSpiel prints of it. After the end, play stays in ``(horizon, 0)`` and
    pays nothing. The rewards of a play sum to OpenSpiel's ``returns()``. Agents that must wait in
    some state have an action ``-`` for it, and for the end.

    OpenSpiel has no description of a state that is sure to be complete and leaves out what does not
    matter: its ``serialize()`` is the history. So two histories count as one state if they are of
    one length, OpenSpiel prints the same text and the same observations of them, and they go on
    alike in a random play. What shows in neither would be lost: ``merge=False`` makes a state of
    every history, and is exact.

    Args:
        game: a `pyspiel.Game`, or its name with parameters.
        max_states: the most states to explore.
        merge: whether histories that look the same are one state.

    Raises:
        GameError: the game has imperfect information, or chance without known probabilities, or too
            many states; or histories that look the same go on differently.
        MissingExtra: OpenSpiel is not installed.

    >>> table = from_openspiel("oshi_zumo(coins=3,size=1,horizon=4)")
    >>> table.agents, table.horizon, len(table.states)
    (('player0', 'player1'), 4, 63)
    >>> print(table.states[1], table.texts[1].strip())
    (1, 0) Coins: 3 3, Field: #.W.#
    """
    try:
        import pyspiel
    except ImportError:
        raise MissingExtra("open_spiel", extra="interop") from None
    game = _load(pyspiel, game) if isinstance(game, str) else game
    if not isinstance(game, pyspiel.Game):
        raise GameError(f"a game of OpenSpiel's is its name or a pyspiel.Game, not {game!r}")
    _check_kind(pyspiel, game)
    return _Exploration(game, max_states, merge).table()


@dataclass
class _Move:
    """A joint action in a state: rewards of all, and the next states; ``None`` is the end."""

    actions: tuple[int | None, ...]  # OpenSpiel's; None without a choice
    rewards: list[float]
    following: dict[int | None, float]


@dataclass
class _Node:
    state: Any
    text: str
    legal: tuple[tuple[int, ...], ...]  # of each player, none without a choice
    moves: list[_Move]


class _Exploration:
    """Goes through a game by the number of decisions."""

    def __init__(self, game: Any, max_states: int, merge: bool) -> None:
        self.game, self.max_states, self.merge = game, max_states, merge
        self.name = str(game).removesuffix("()")
        self.players = range(game.num_players())
        self.observed = merge and game.get_type().provides_observation_string
        self.random = Random(0)
        self.layers: list[list[_Node]] = []
        self.count = 0
        self.names: list[dict[int, set[str]]] = [{} for _ in self.players]

    def table(self) -> SpielTable:
        """All of the game."""
        self._open_layer()
        first = self._enter(self.game.new_initial_state(), 1.0)
        if None in first:
            raise GameError(f"a play of {self.name} can end before anybody chooses")
        while self.layers[-1]:
            nodes = self.layers[-1]
            self._open_layer()
            for node in nodes:
                base = node.state.returns() if len(self.layers) > 2 else [0.0] * len(self.players)
                node.moves = [
                    self._move(node, actions, base)
                    for actions in product(*(legal or (None,) for legal in node.legal))
                ]
                node.state = None  # not needed any more
        self.layers.pop()
        return self._table({k: p for k, p in first.items() if k is not None})

    def _open_layer(self) -> None:
        self.layers.append([])
        self.known: dict[Any, int] = {}

    def _move(self, node: _Node, actions: tuple[int | None, ...], base: list[float]) -> _Move:
        child = _after(node.state, actions)
        rewards = [0.0] * len(self.players)
        following = self._enter(child, 1.0, rewards)
        return _Move(actions, [r - b for r, b in zip(rewards, base, strict=True)], following)

    def _enter(
        self, state: Any, probability: float, returns: list[float] | None = None
    ) -> dict[int | None, float]:
        """The next nodes with their probabilities; adds the expected returns there."""
        found: dict[int | None, float] = {}
        for at, p in self._decisions(state, probability):
            if returns is not None:
                for i, value in enumerate(at.returns()):
                    returns[i] += p * value
            k = None if at.is_terminal() else self._number(at)
            found[k] = found.get(k, 0.0) + p
        return found

    def _decisions(self, state: Any, probability: float) -> Iterator[tuple[Any, float]]:
        """Nodes where somebody chooses or play ends, after all moves of chance."""
        waiting, seen = [(state, probability)], 0
        while waiting:
            at, p = waiting.pop()
            if not at.is_chance_node():
                yield at, p
                continue
            outcomes = [(at.child(a), p * q) for a, q in reversed(at.chance_outcomes()) if q > 0]
            waiting += outcomes
            seen += len(outcomes)
            if seen > self.max_states:
                raise GameError(
                    f"chance has more than {self.max_states:,} outcomes between two decisions of "
                    f"{self.name}",
                    hint="a smaller game, or `max_states=`.",
                )

    def _number(self, state: Any) -> int:
        """The node's number in its layer; a new one where none is alike."""
        text = str(state)
        key: Any = (tuple(state.history()),)
        if self.merge:
            seen = [state.observation_string(i) for i in self.players] if self.observed else []
            key = (state.current_player(), text, *seen)
        nodes = self.layers[-1]
        if key in self.known:
            k = self.known[key]
            if not _alike(nodes[k].state, state, self.random):
                raise GameError(
                    f"two histories of {self.name} have the same text and go on differently: "
                    f"{text!r}",
                    hint="merge=False, which makes a state of every history.",
                )
            return k
        self.count += 1
        if self.count > self.max_states:
            raise GameError(
                f"{self.name} has more than {self.max_states:,} states: so many were found within "
                f"{len(self.layers) - 1} of at most {self.game.max_game_length()} decisions",
                hint="a smaller game, by its parameters (a short `horizon`, if it has one), or "
                "`max_states=`.",
            )
        legal = _legal(state, self.players)
        for i, actions in enumerate(legal):
            for action in actions:
                names = self.names[i].setdefault(action, set())
                lines = state.action_to_string(i, action).split("\n")
                names.add("; ".join(filter(None, lines)))
        nodes.append(_Node(state, text, legal, []))
        self.known[key] = len(nodes) - 1
        return len(nodes) - 1

    def _table(self, first: dict[int, float]) -> SpielTable:
        horizon = len(self.layers)
        nodes = [node for layer in self.layers for node in layer]
        labels = [(t, k) for t, layer in enumerate(self.layers) for k in range(len(layer))]
        starts = [0]
        for layer in self.layers:
            starts.append(starts[-1] + len(layer))
        end = 0  # with one decision, nobody asks where play goes
        if horizon > 1:
            end = len(nodes)
            labels.append((horizon, 0))
        idle = [any(not node.legal[i] for node in nodes) for i in self.players]
        actions = [_actions(i, self.names[i], idle[i]) for i in self.players]
        places = [
            {a: k + idle[i] for k, a in enumerate(sorted(self.names[i]))} | {None: 0}
            for i in self.players
        ]
        moves = [
            (s, starts[t + 1], move)
            for t, layer in enumerate(self.layers)
            for s, node in enumerate(layer, starts[t])
            for move in node.moves
        ]
        width = max(len(move.following) for _, _, move in moves)
        shape = (len(labels), *(part.size for part in actions))
        self._check_memory(shape, width)

        at = torch.tensor(
            [[s, *(places[i][a] for i, a in enumerate(m.actions))] for s, _, m in moves]
        ).unbind(1)
        rewards = torch.zeros(*shape, len(self.players), dtype=torch.float64)
        rewards[at] = torch.tensor([move.rewards for _, _, move in moves], dtype=torch.float64)
        successors = torch.full((*shape, width), end)
        successors[at] = torch.tensor(
            [
                _filled([end if k is None else start + k for k in move.following], width, end)
                for _, start, move in moves
            ]
        )
        probabilities = torch.zeros(*shape, width, dtype=torch.float64)
        probabilities[..., 0] = 1.0
        probabilities[at] = torch.tensor(
            [_filled([*move.following.values()], width, 0.0) for _, _, move in moves],
            dtype=torch.float64,
        )
        initial = torch.zeros(len(labels), dtype=torch.float64)
        initial[list(first)] = torch.tensor(list(first.values()), dtype=torch.float64)
        table = SpielTable(
            agents=tuple(part.sites[0] for part in actions),
            actions=tuple(actions),
            states=States((0, 0), torch.tensor(labels)),
            log_priors=tuple(
                _log_prior([node.legal[i] for node in nodes], places[i], shape[0], idle[i])[
                    None, None
                ]
                for i, part in enumerate(actions)
            ),
            rewards=tuple(reward[None, None] for reward in rewards.unbind(-1)),
            successors=successors[None],
            probabilities=probabilities[None, None],
            initial=initial[None],
            discount=1.0,
            horizon=horizon,
            name=self.name,
            texts=tuple(node.text for node in nodes) + ("the end",) * (horizon > 1),
        )
        known = with_reachable(table, horizon)
        assert isinstance(known, SpielTable)
        return known

    def _check_memory(self, shape: tuple[int, ...], width: int) -> None:
        need, budget = prod(shape) * (16 * width + 8 * len(self.players)), allowance(None)
        if need > budget:
            raise GameError(
                f"{self.name} has {shape[0]:,} states, and {prod(shape[1:]):,} joint actions in a "
                f"table; it would take {need:,} bytes, and {int(budget):,} are allowed",
                hint="a smaller game, by its parameters.",
            )


def _load(pyspiel: Any, name: str) -> Any:
    short, known = name.partition("(")[0], pyspiel.registered_names()
    if short not in known:
        close = ", or ".join(difflib.get_close_matches(short, known))
        raise GameError(f"OpenSpiel has no game '{short}'", hint=f"{close}." if close else None)
    try:
        return pyspiel.load_game(name)
    except pyspiel.SpielError as error:
        raise GameError(f"OpenSpiel does not make '{name}': {str(error).strip()}") from error


def _check_kind(pyspiel: Any, game: Any) -> None:
    kind, types = game.get_type(), pyspiel.GameType
    name = str(game).removesuffix("()")
    if kind.dynamics == types.Dynamics.MEAN_FIELD:
        raise GameError(
            f"{name} is a mean-field game, which no table of a few agents holds",
            hint="a program whose step takes the `crowd`, and vsg.mean_field_nash.",
        )
    if kind.chance_mode == types.ChanceMode.SAMPLED_STOCHASTIC:
        raise GameError(f"{name} draws the moves of chance without telling their probabilities")
    inside = name if name.endswith(")") else f"{name}()"
    # some games can show all, and OpenSpiel still counts them by what they show by default
    shown = game.get_parameters().get("fully_observable", False)
    if kind.information == types.Information.IMPERFECT_INFORMATION and not shown:
        raise GameError(
            f"{name} has imperfect information: its players do not see the whole state, and agents "
            "of a table do",
            hint=f"from_openspiel('normal_form_extensive_game(game={inside})'), its strategic "
            "form, if it is small.",
        )


def _legal(state: Any, players: range) -> tuple[tuple[int, ...], ...]:
    """The actions of each player; none for who has no choice."""
    if state.is_simultaneous_node():
        return tuple(tuple(state.legal_actions(i)) for i in players)
    mover = state.current_player()
    return tuple(tuple(state.legal_actions()) if i == mover else () for i in players)


def _after(state: Any, actions: tuple[int | None, ...]) -> Any:
    """The state after a joint action."""
    if not state.is_simultaneous_node():
        return state.child(next(a for a in actions if a is not None))
    child = state.clone()
    child.apply_actions([-1 if a is None else a for a in actions])  # -1: pyspiel.INVALID_ACTION
    return child


def _alike(one: Any, other: Any, random: Random) -> bool:
    """Whether two states go on alike, as far as one random play tells."""
    players = range(len(one.returns()))
    bases = one.returns(), other.returns()
    for _ in range(LOOK_AHEAD):
        gains = (
            [b - a for a, b in zip(base, at.returns(), strict=True)]
            for base, at in zip(bases, (one, other), strict=True)
        )
        if one.current_player() != other.current_player() or not all(
            isclose(a, b, abs_tol=1e-9) for a, b in zip(*gains, strict=True)
        ):
            return False
        if one.is_terminal():
            return True
        if one.is_chance_node():
            outcomes = one.chance_outcomes()
            if outcomes != other.chance_outcomes():
                return False
            choice = random.choice([a for a, q in outcomes if q > 0])
            one, other = one.child(choice), other.child(choice)
            continue
        legal = _legal(one, players)
        if legal != _legal(other, players):
            return False
        actions = tuple(random.choice(own) if own else None for own in legal)
        one, other = _after(one, actions), _after(other, actions)
    return True


def _actions(player: int, names: dict[int, set[str]], idle: bool) -> Actions:
    """The actions by name where each always has the same one, else by number."""
    labels = [min(names[a]) if len(names[a]) == 1 else str(a) for a in sorted(names)]
    if len(set(labels)) < len(labels):
        labels = [str(a) for a in sorted(names)]
    if idle:
        labels.insert(0, "-" if "-" not in labels else "no choice")
    return Actions((f"player{player}",), (len(labels),), (tuple(labels),))


def _log_prior(
    legal: list[tuple[int, ...]], places: dict[int | None, int], count: int, idle: bool
) -> Tensor:
    """log u(a|s), (S, A): uniform over the legal actions; at the end, waiting or whatever."""
    size = max(places.values()) + 1
    logs = torch.full((count, size), -torch.inf, dtype=torch.float64)
    logs[len(legal) :, 0 if idle else slice(None)] = 0.0 if idle else -log(size)
    for s, actions in enumerate(legal):
        free = [places[a] for a in actions or (None,)]
        logs[s, free] = -log(len(free))
    return logs


def _filled(values: list[Any], width: int, fill: Any) -> list[Any]:
    return values + [fill] * (width - len(values))
