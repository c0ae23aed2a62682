"""The tables of a game with unknowns, as a differentiable function of their values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pyro
import torch
from pyro import poutine
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.game import Game, is_mean_field, title
from vsg_ppl.table import Table
from vsg_ppl.tabulate import Exploration, allowance, tabulate
from vsg_ppl.tape import Tape, record, same
from vsg_ppl.unknowns import Given, draw_unknowns

ANY_DISCOUNT = 0.5
"""Stands in while tensors are computed that no discount enters."""


class TableFamily:
    """ψ → table: a game's program run anew for each ψ, or replayed from a tape where that is right.

    The states are found once, at one draw of the unknowns from their priors.

    Args:
        game: a game program, or its table, which then has no unknowns.

    Attributes:
        table: at the draw.
        names: of the unknowns.

    >>> import pyro, pyro.distributions as dist, torch, vsg_ppl as vsg
    >>> class Choice:
    ...     agents, horizon = ("rat",), 1
    ...     def initial(self):
    ...         return torch.tensor(0)
    ...     def step(self, state):
    ...         taste = pyro.sample("taste", dist.Normal(0.0, 1.0))
    ...         arm = vsg.act("rat", dist.Categorical(torch.ones(2)))
    ...         vsg.optimality("rat", taste * arm)
    ...         return state
    >>> family = TableFamily(Choice())
    >>> taste = torch.tensor(3.0, requires_grad=True)
    >>> family({"taste": taste}).rewards[0].sum().backward()
    >>> taste.grad
    tensor(1.)
    """

    def __init__(self, game: Game | Table) -> None:
        self.game = None if isinstance(game, Table) else game
        self.names: tuple[str, ...] = ()
        if self.game is None:
            assert isinstance(game, Table)
            self.table = game
            return
        if is_mean_field(self.game):
            raise GameError(
                f"{title(self.game)} is a mean-field game, and this is for those among agents",
                hint="vsg.facing(game, crowd), the game of one agent amid a crowd that is known.",
            )
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            draws = [_plain(draw_unknowns(self.game)) for _ in range(3)]
        self.names = tuple(draws[0])
        if not self.names:
            self.table = tabulate(self.game)
            return
        self.shapes = {name: value.shape for name, value in draws[0].items()}
        self.table = tabulate(Given(self.game, draws[0]))
        values = self.table.states.values
        parts = len(values[0]) - self._signals(draws[0])
        self.rows = values[:, :parts].unique(dim=0) if parts else values[:1, :0]
        self._tape = self._recorded(draws)

    def __call__(self, values: Mapping[str, Tensor]) -> Table:
        """The table at these values; it keeps their graph."""
        if not self.names:
            return self.table
        assert self.game is not None
        gamma = Given(self.game, values, ANY_DISCOUNT).gamma()
        if self._tape is None:
            with poutine.block():  # the program's own sites are no part of a model around this
                parts = self._parts(values)
        else:
            flat = torch.cat([values[name].double().reshape(-1) for name in self.names])
            parts = self._tape(flat, tuple(range(len(self._tape.outputs))))
        n = len(self.table.agents)
        return replace(
            self.table,
            log_priors=tuple(parts[:n]),
            rewards=tuple(parts[n : 2 * n]),
            probabilities=parts[2 * n],
            initial=parts[2 * n + 1],
            discount=self.table.discount if gamma is None else gamma,
        )

    def _parts(self, values: Mapping[str, Tensor], *, watched: bool = False) -> list[Tensor]:
        """The tensors of the table, from the program itself; no look at them while a tape runs."""
        assert self.game is not None
        gamma = Given(self.game, values, ANY_DISCOUNT).gamma()  # samples nothing anew
        gamma = None if gamma is None else ANY_DISCOUNT
        exploration = Exploration(Given(self.game, values, gamma), allowance(None), check=False)
        try:
            table = exploration.again(self.rows)
            alike = watched or self._alike(table)
        except IndexError:  # a first state that has no number
            alike = False
        if not alike:
            raise GameError(
                f"the states of {title(self.game)} change with its unknowns, "
                + ", ".join(self.names),
                hint="unknowns may move rewards and probabilities, not what can follow what; "
                "what is no unknown but a move of chance needs a law of finitely many values.",
            )
        return [*table.log_priors, *table.rewards, table.probabilities, table.initial]

    def _alike(self, table: Table) -> bool:
        """Whether the same can follow what, and no state leads where the table has none."""
        one, other = self.table, table
        if (one.successors is None) != (other.successors is None):
            return False
        pairs = [(one.states.values[None], other.states.values[None])]
        if one.successors is not None and other.successors is not None:
            pairs.append((one.successors, other.successors))
        if not all(a.shape == b.shape for a, b in pairs):
            return False
        if one.probabilities.shape != other.probabilities.shape:
            return False
        lost = [x.probabilities[0].detach().sum(-1) < 1 - 1e-9 for x in (one, other)]
        odd = [*((a != b) for a, b in pairs), lost[1] & ~lost[0]]
        if one.reachable is not None:  # at times when a state cannot occur it has no row
            seen = one.reachable
            odd[1:] = [x[seen if len(x) > 1 else seen.any(0)[None]] for x in odd[1:]]
        return not any(bool(x.any()) for x in odd)

    def _recorded(self, draws: list[dict[str, Tensor]]) -> Tape | None:
        """The tape, if it proves right at other draws."""

        def flat(draw: dict[str, Tensor]) -> Tensor:
            return torch.cat([draw[name].double().reshape(-1) for name in self.names])

        def parts(x: Tensor, watched: bool = False) -> list[Tensor]:
            sizes = [self.shapes[name].numel() for name in self.names]
            pieces = zip(self.names, x.split(sizes), strict=True)
            values = {name: part.reshape(self.shapes[name]) for name, part in pieces}
            return self._parts(values, watched=watched)

        first, *others = map(flat, draws)
        with pyro.validation_enabled(False), torch.no_grad():
            try:
                tape = record(lambda x: parts(x, watched=True), first)
            except NotImplementedError:  # an operation that cannot be watched
                return None
            if tape is None:
                return None
            every = tuple(range(len(tape.outputs)))
            right = all(
                same(a, b) for x in others for a, b in zip(tape(x, every), parts(x), strict=True)
            )
        return tape if right else None

    def _signals(self, draw: dict[str, Tensor]) -> int:
        """How many parts of the table's states are public signals."""
        from vsg_ppl.structure import leaves

        assert self.game is not None
        with torch.random.fork_rng(devices=[]):
            state = Given(self.game, draw).initial()
        return self.table.states.values.shape[1] - len(leaves(state))


def _plain(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().double() for name, value in values.items()}
