"""A mean-field game as tensors: what its step pays and does, as functions of the crowd.

The data's way: `mean_field_table` finds the states by running the step amid several crowds;
`MeanFieldTable.kernel` runs it over all states and times at once amid a given crowd, from a tape
(`tape`) after the first time; `MeanFieldTable.at` freezes the crowd: an ordinary `Table`.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from typing import Any, TypeAlias

import pyro
import torch
from torch import Tensor

from vsg_ppl import structure
from vsg_ppl.crowd import Crowd
from vsg_ppl.errors import GameError, telling
from vsg_ppl.game import Game, agents, call, is_mean_field, title
from vsg_ppl.handlers.enumerate import enumerate_sites
from vsg_ppl.join import with_reachable
from vsg_ppl.layout import Layout
from vsg_ppl.states import States
from vsg_ppl.table import Actions, Table
from vsg_ppl.tabulate import CHUNK, DEPTH, Exploration, allowance, codec_of, possible
from vsg_ppl.tape import Tape, record, same

Said: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]
"""Rewards, log priors, numbers of next states (−1: unknown), their probabilities; all by time."""

BIG = 1 << 18
"""States times actions times times beyond which fewer comparisons are made."""

CLOSE = 40
"""Times that the states are completed by those that follow them, before they are taken to grow on
and on until the horizon ends."""


@dataclass(frozen=True)
class Kernel:
    """A step amid a given crowd; h times, S states, A actions, K successors.

    Attributes:
        rewards: r_t(s, a), (h, S, A).
        successors: numbers of next states, (h|1, S, A|1, K).
        probabilities: of the successors, (h|1, S, A|1, K).
    """

    rewards: Tensor
    successors: Tensor
    probabilities: Tensor


class Unreached(GameError):
    """A crowd leads to states that the table does not have."""

    def __init__(self, message: str, rows: Tensor) -> None:
        super().__init__(message)
        self.rows = rows


class MeanFieldTable:
    """A finite mean-field game; made by `mean_field_table`.

    Attributes:
        game: the program.
        agent: the name of the agent that stands for everybody.
        actions: its actions.
        states: the S states, by label.
        initial: μ_0, (S,).
        discount: γ.
        horizon: number of decisions, ``None`` for a stationary crowd.
        timed: whether the step takes the time.
        name: of the game.
    """

    def __init__(
        self, game: Game, found: _Exploration, states: States, initial: Tensor, actions: Actions
    ) -> None:
        self.game, self.agent, self.name = game, found.agents[0], title(game)
        self.states, self.initial, self.actions = states, initial, actions
        self.discount, self.horizon, self.timed = found.gamma, found.horizon, found.timed
        self.budget, self._first, self._grows = found.budget, found.first, found.grows
        self._tapes: dict[tuple[int, ...], Tape | None] = {}
        self._batched = self._taped = True
        self._like = found.like
        self._settle()

    @property
    def times(self) -> int:
        """H, or 1 without a horizon."""
        return self.horizon or 1

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.initial.device

    @property
    def prior(self) -> Tensor:
        """u(a|s), (H, S, A)."""
        return self.log_prior.exp().expand(self.times, -1, -1)

    @property
    def batched(self) -> bool:
        """Whether the step runs over several times and crowds at once, not one after another."""
        return self._batched

    @cached_property
    def moving(self) -> bool:
        """Whether the crowd moves the next states, not only the rewards."""
        tapes = [self._tape(piece) for piece in self._pieces(self._all)]
        return any(tape is None or tape.depends(2) or tape.depends(3) for tape in tapes)

    @cached_property
    def sees_actions(self) -> bool:
        """Whether the step may see what the crowd does, and not only where it is."""
        tape = self._tape(self._all)
        return tape is None or not tape.sums_only((0, 2, 3))

    def kernel(self, joint: Tensor, times: Sequence[int] | None = None) -> Kernel:
        """What the step does amid this crowd.

        Args:
            joint: L_t(s, a) at the h times, (h, S, A).
            times: which times they are; all by default.

        Raises:
            GameError: the step fails amid this crowd, or pays what is not finite.
        """
        which = self._all if times is None else tuple(times)
        if self.moving:
            rewards, _, numbers, probabilities = self._outputs(joint, which, (0, 1, 2, 3))
            self._check_inside(joint, which, numbers, probabilities)
        else:
            rewards = self._outputs(joint, which, (0,))[0]
            numbers, probabilities = self.fixed
            if len(numbers) > 1 and which != self._all:
                numbers = numbers[list(which)]
            if len(probabilities) > 1 and which != self._all:
                probabilities = probabilities[list(which)]
        if not torch.isfinite(rewards).all():
            self._whole(joint.detach(), which)  # says where
            raise GameError(f"a reward of {self.name} is not finite amid some crowd")
        return Kernel(rewards, *_known(numbers, probabilities))

    def at(self, joint: Tensor) -> Table:
        """The table of one agent's game against this crowd, (H, S, A) or (1, S, A)."""
        # from the program itself: what is certified must not hang on a tape
        with torch.no_grad():
            rewards, log_prior, numbers, probabilities = self._whole(joint, self._all)
            self._check_inside(joint, self._all, numbers, probabilities)
        grows = int(numbers.min()) < 0  # some states have no room to go on before the horizon
        numbers, probabilities = _known(numbers, probabilities)
        table = Table(
            agents=(self.agent,),
            actions=(self.actions,),
            states=self.states,
            log_priors=(log_prior[None],),
            rewards=(_once(rewards)[None],),
            successors=numbers,
            probabilities=probabilities[None],
            initial=self.initial[None],
            discount=self.discount,
            horizon=self.horizon,
            name=self.name,
        )
        return with_reachable(table, self.times) if grows else table

    def even(self) -> Tensor:
        """A crowd spread evenly over states and actions, (H, S, A)."""
        return self._even(self._all)

    def shape(self) -> Table:
        """A table of this shape, of a crowd spread evenly: to read policies by."""
        return self._shape

    def programmed(self) -> MeanFieldTable:
        """The same table without tapes: every answer comes from the program itself."""
        plain = copy(self)
        plain._taped = False
        for known in ("moving", "sees_actions"):
            vars(plain).pop(known, None)
        return plain

    @cached_property
    def _shape(self) -> Table:
        return self.at(self.even())

    def __repr__(self) -> str:
        length = "stationary" if self.horizon is None else f"{self.horizon} decisions"
        return (
            f"MeanFieldTable({self.name}: {len(self.states):,} states, {self.actions.size} "
            f"actions, {length})"
        )

    @cached_property
    def _all(self) -> tuple[int, ...]:
        return tuple(range(self.times))

    @cached_property
    def fixed(self) -> tuple[Tensor, Tensor]:
        """Successors and probabilities that no crowd changes, (H|1, S, A|1, K)."""
        numbers, probabilities = self._constant(2), self._constant(3)
        self._check_inside(self.even(), self._all, numbers, probabilities)
        return _known(numbers, probabilities)

    @cached_property
    def log_prior(self) -> Tensor:
        """log u(a|s), (H|1, S, A)."""
        return self._constant(1)

    def _constant(self, output: int) -> Tensor:
        """One of the step's outputs that no crowd changes, by time only if the time does."""
        parts: list[Tensor] = []
        for piece in self._pieces(self._all):
            tape = self._tape(piece)
            if tape is None or tape.depends(output):
                runs = [self._run(self._random(seed, len(piece)), piece) for seed in (0, 1)]
                if not same(runs[0][output], runs[1][output]):
                    raise GameError(
                        f"the prior of '{self.agent}' reads the crowd",
                        hint="let the reward read it; the prior is what is available.",
                    )
                parts = _shared(parts, runs[0][output])
            else:
                constant = tape.outputs[output]
                assert isinstance(constant, Tensor)
                parts = _shared(parts, constant)
                tape.outputs[output] = parts[-1]  # what is the same at every time is kept once
        return _merged(parts, [len(piece) for piece in self._pieces(self._all)])

    def _settle(self) -> None:
        """Choose how to run the step: over many times at once, if it can."""
        few = (0, self.times // 2, self.times - 1) if self._big(self.times) else self._all
        which = (*sorted(set(few)), 0)  # more than one, so that nobody can make it a number
        probe = self._random(0, len(which))
        try:
            fast = self._at_once(probe, which)
        except (GameError, RuntimeError, TypeError, ValueError):
            self._batched = False
            return
        if self.timed:
            slow = self._by_time(probe, which)
            self._batched = all(same(x, y) for x, y in zip(slow, fast, strict=True))

    def _big(self, times: int) -> bool:
        return times * len(self.states) * self.actions.size > BIG

    def _pieces(self, which: tuple[int, ...]) -> list[tuple[int, ...]]:
        """The times in groups, each of which fits into one run."""
        if not self._batched:
            return [which]
        most = max(1, CHUNK // (4 * len(self.states) * self.actions.size))
        return [which[k : k + most] for k in range(0, len(which), most)]

    def _outputs(self, joint: Tensor, which: tuple[int, ...], wanted: tuple[int, ...]) -> Any:
        """Some of the step's outputs amid a crowd, from tapes where there are any."""
        found, start = [], 0
        for piece in self._pieces(which):
            part = joint[start : start + len(piece)]
            start += len(piece)
            tape = self._tape(piece)
            if tape is not None:
                found.append(tape(part, wanted))
            else:
                run = self._run(part, piece, check=False)
                found.append([run[k] for k in wanted])
        if len(found) == 1:
            return found[0]
        sizes = [len(piece) for piece in self._pieces(which)]
        return [_stacked(list(parts), sizes) for parts in zip(*found, strict=True)]

    def _tape(self, which: tuple[int, ...]) -> Tape | None:
        """The recorded step at these times, once it has proved right amid other crowds."""
        if not self._taped:
            return None
        key = which if self.timed else tuple(range(len(which)))
        if key not in self._tapes:
            self._tapes[key] = None
            seeds = (0, 1) if self._big(len(key)) else (0, 1, 2)
            with pyro.validation_enabled(False), torch.no_grad():
                first, *others = (self._random(seed, len(key)) for seed in seeds)
                try:
                    tape = record(lambda joint: self._run(joint, key, check=False), first)
                except NotImplementedError:  # an operation that cannot be watched
                    tape = None
                if tape is not None and all(
                    same(x, y)
                    for joint in others
                    for x, y in zip(
                        tape(joint, (0, 1, 2, 3)),
                        self._run(joint, key, check=False),
                        strict=True,
                    )
                ):
                    self._tapes[key] = tape
        return self._tapes[key]

    def _run(self, joint: Tensor, which: tuple[int, ...], *, check: bool = True) -> Said:
        """The step as the program runs it, at times that fit into one run."""
        run = self._at_once if self._batched else self._by_time
        return run(joint, which, check)

    def _whole(self, joint: Tensor, which: tuple[int, ...]) -> Said:
        """The same at any times; all but the rewards by time only if they differ."""
        pieces = self._pieces(which)
        rewards: list[Tensor] = []
        rest: list[list[Tensor]] = [[], [], []]
        start = 0
        for piece in pieces:
            run = self._run(joint[start : start + len(piece)], piece)
            start += len(piece)
            rewards.append(run[0])
            rest = [_shared(kept, x) for kept, x in zip(rest, run[1:], strict=True)]
        sizes = [len(piece) for piece in pieces]
        log_prior, numbers, probabilities = (_merged(kept, sizes) for kept in rest)
        return torch.cat(rewards), log_prior, numbers, probabilities

    def _by_time(self, joint: Tensor, which: tuple[int, ...], check: bool = True) -> Said:
        """A run for each time, which the step gets as a number."""
        runs = []
        for k, t in enumerate(which):
            crowd = Crowd(self.states, self.actions, joint[[k]])
            runs.append(self._step(crowd, t, 1, (t,), check))
        return _stack(runs)

    def _at_once(self, joint: Tensor, which: tuple[int, ...], check: bool = True) -> Said:
        """One run over all states and times."""
        n, h = len(self.states), len(which)
        rows = torch.arange(h, device=self.device).repeat_interleave(n)
        t = torch.tensor(which, device=self.device).repeat_interleave(n)
        return self._step(Crowd(self.states, self.actions, joint, rows), t, h, which, check)

    def _step(self, crowd: Crowd, t: Any, h: int, which: tuple[int, ...], check: bool) -> Said:
        n, size = len(self.states), self.actions.size
        state = structure.rebuild(
            self._like, [part.repeat(h) for part in self.states.values.unbind(1)]
        )
        with telling(f"`step` of {self.name}"), enumerate_sites(1, self.budget / 64) as tables:
            following = call(self.game.step, state, t=t, crowd=crowd)
            if self.horizon == 1:
                following = state  # what the last step returns is not used
            numbers = self.states.locate(following)
        layout = Layout(tables, (self.agent,), _Places(self.states, which), check=check)
        said = layout.outcomes()
        successors, probabilities = layout.next(numbers)

        def spread(x: Tensor) -> Tensor:
            """(h, S, A|1, K) of (n|1, 1, A|1, K)."""
            return x[:, 0].expand(h * n, *x.shape[2:]).reshape(h, n, *x.shape[2:])

        idle = self.agent not in said.log_priors  # nobody acts at this time
        prior = None if idle else said.log_priors[self.agent]
        if prior is None:
            prior = torch.full((h * n, 1, size), -torch.inf, dtype=torch.float64)
            prior[..., 0] = 0.0
        rewards = said.rewards[self.agent].expand(h * n, 1, size)
        return (
            rewards.reshape(h, n, size),
            prior.to(self.device).expand(h * n, 1, size).reshape(h, n, size),
            spread(successors),
            spread(probabilities),
        )

    def _check_inside(
        self, joint: Tensor, which: tuple[int, ...], numbers: Tensor, probabilities: Tensor
    ) -> None:
        """Raise `Unreached` where the next state may be one that the table does not have."""
        if int(numbers.min()) >= 0:
            return
        lost = (numbers < 0) & (probabilities > 0)
        if self.horizon is not None:  # what the last step returns is not used
            t = torch.tensor(which, device=self.device).reshape(-1, 1, 1, 1)
            began = self._first.to(self.device).reshape(1, -1, 1, 1)  # nobody is there before
            lost = lost & (t < self.horizon - 1)
            if self._grows:
                lost = lost & (began <= t)
        logs = self.log_prior if len(self.log_prior) == 1 else self.log_prior[list(which)]
        lost = lost & (logs > -torch.inf)[..., None] if lost.shape[2] > 1 else lost
        if bool(lost.any()):
            finder = _Exploration(self.game, self.budget)
            raise Unreached(
                f"a crowd leads {self.name} to states that were not found by exploring it",
                finder.beyond(self, joint.detach(), which),
            )

    def _even(self, which: tuple[int, ...]) -> Tensor:
        n, size = len(self.states), self.actions.size
        return torch.full(
            (len(which), n, size), 1 / (n * size), dtype=torch.float64, device=self.device
        )

    def _random(self, seed: int, times: int | None = None) -> Tensor:
        n, size = len(self.states), self.actions.size
        generator = torch.Generator().manual_seed(seed)
        law = torch.rand(self.times if times is None else times, n * size, generator=generator)
        law = -law.double().clamp_min(1e-9).log()
        return (law / law.sum(-1, keepdim=True)).reshape(-1, n, size).to(self.device)


def mean_field_table(
    game: Game | MeanFieldTable, *, max_bytes: float | None = None, more: Tensor | None = None
) -> MeanFieldTable:
    """The table of a finite mean-field game.

    The states are found by exploring from ``initial`` amid several crowds: everybody spread evenly,
    at random, or in one place.

    Args:
        game: the game program: one agent, a step that takes ``crowd``, finite sites. A table is
            returned as it is.
        max_bytes: memory the table may take, by default three quarters of the machine's.
        more: parts of further states to include, (n, parts).

    Raises:
        GameError: not such a game; says at which site and what to try.

    >>> from vsg_ppl.models import BeachBar
    >>> mean_field_table(BeachBar())
    MeanFieldTable(BeachBar: 4 states, 3 actions, 3 decisions)
    """
    if isinstance(game, MeanFieldTable):
        return game
    names = agents(game)
    if not is_mean_field(game):
        raise GameError(
            f"{title(game)} is no mean-field game: its step does not take the crowd",
            hint="def step(self, state, crowd): ...; without a crowd, `nash`.",
        )
    if len(names) > 1:
        raise GameError(
            f"{title(game)} has {len(names)} agents, and a mean-field game has one, which stands "
            "for everybody",
            hint="several kinds of people are parts of the state.",
        )
    given = more
    for k in count():
        exploration = _Exploration(game, allowance(max_bytes))
        if k >= CLOSE and exploration.horizon is not None:
            more, exploration.grows = given if k == CLOSE else more, True
        found = exploration.explore(more)
        try:
            table = MeanFieldTable(game, exploration, *found)
            table.kernel(table._random(0))
            assert table.log_prior is not None  # read now what else would fail later
        except Unreached as error:
            if exploration.grows and k > 2 * CLOSE:
                raise
            more = error.rows if more is None else torch.cat([more, error.rows]).unique(dim=0)
            continue
        return table
    raise AssertionError


class _Exploration(Exploration):
    """Finds the states that play amid some crowd can reach."""

    grows = False  # whether there are always more, so that those after the horizon are left out

    def explore(self, more: Tensor | None) -> tuple[States, Tensor, Actions]:
        """The states, the initial law and the actions."""
        self.like, rows, law = self._initial()
        given = rows if more is None else torch.cat([rows, more.to(rows)]).unique(dim=0)
        self.codec = codec_of(given)
        self.known = self._codes(given)
        self.first = torch.zeros(len(given), dtype=torch.long)  # when each is first reached
        self.actions: Actions | None = None
        self.crowds = 6
        layer = given
        for t in count() if self.horizon is None else range(self.horizon):
            codes = self._found(layer, t)
            if self.horizon is not None and t == self.horizon - 1:
                break  # what the last step returns is not used
            new = codes[~torch.isin(codes, self.known)]
            self.known = torch.cat([self.known, new])
            self.first = torch.cat([self.first, torch.full((len(new),), t + 1)])
            layer = self.codec.decode(self.known if self.timed else new)
            if not len(layer):
                break
            if self.horizon is None and t >= DEPTH:
                raise GameError(
                    f"{title(self.game)} still has new states after {t:,} steps",
                    hint="bound the state (clamp it), or give the game a horizon.",
                )
        assert self.actions is not None
        order = self.known.argsort()
        values, self.first = self.codec.decode(self.known[order]), self.first[order]
        states = States(self.like, values)
        initial = torch.zeros(len(values), dtype=torch.float64, device=law.device)
        first = states.locate(structure.rebuild(self.like, list(rows.unbind(1))))
        return states, initial.index_add(0, first.expand(len(rows)), law), self.actions

    def beyond(self, table: MeanFieldTable, joint: Tensor, which: tuple[int, ...]) -> Tensor:
        """Parts of all states that follow those of a table amid this crowd."""
        self.like, values = table.states.like, table.states.values
        self.codec, self.known = codec_of(values), torch.empty(0, dtype=torch.long)
        rows = []
        for k, t in enumerate(which):
            made = self._run(values, t, Crowd(table.states, table.actions, joint[[k]]))
            rows.append(self.codec.decode(self.codec.distinct(possible(made))))
        beyond: Tensor = torch.cat(rows).unique(dim=0)
        return beyond

    def _found(self, layer: Tensor, t: int) -> Tensor:
        """Codes of the states that follow these, amid several crowds."""
        if self.actions is None:  # a first run tells the actions
            said = self._run(layer[:1], t, self._crowd(-1)).said
            self.actions = self._actions([said])[0]
        pieces = layer.split(max(1, CHUNK // 64))
        rows, kernels = [], []
        for k in range(self.crowds):
            for piece in pieces:
                made = self._run(piece, t, self._crowd(k))
                # by their parts, for a later run may number the states anew
                rows.append(self.codec.decode(self.codec.distinct(possible(made))))
                if piece is pieces[0]:
                    kernels.append((made.codes, made.probabilities, self.codec))
        alike = all(
            codec is kernels[0][2] and same(codes, kernels[0][0]) and same(law, kernels[0][1])
            for codes, law, codec in kernels
        )
        if alike and (len(layer) > 1 or t > 20):
            self.crowds = 1  # no crowd seems to move anybody; what is missed shows later
        codes: Tensor = self._codes(torch.cat(rows)).unique()
        return codes

    def _crowd(self, k: int) -> Crowd:
        """Everybody spread evenly, in one place, or at random."""
        values = self.codec.decode(self.known.sort().values)
        size = 1 if self.actions is None else self.actions.size
        generator = torch.Generator().manual_seed(k + 1)
        law = torch.ones(len(values), size, dtype=torch.float64)
        if k in (1, 2, 3):
            place = [0, -1, int(torch.randint(len(values), (), generator=generator))][k - 1]
            law = torch.full_like(law, 1e-12)
            law[place] = 1.0
        elif k > 3:
            law = torch.rand(law.shape, generator=generator, dtype=torch.float64) ** 4
        law = (law / law.sum()).to(values.device)
        return Crowd(States(self.like, values), self.actions, law[None])

    def _codes(self, rows: Tensor) -> Tensor:
        return self.codec.encode(list(rows.unbind(1))).expand(len(rows))


class _Places(Sequence[Any]):
    """Labels of the rows of a run over several times, for error messages."""

    def __init__(self, states: States, which: tuple[int, ...]) -> None:
        self.states, self.which = states, which

    def __len__(self) -> int:
        return len(self.states) * len(self.which)

    def __getitem__(self, k: Any) -> Any:
        t, s = divmod(int(k), len(self.states))
        label = self.states[s]
        return label if len(self.which) == 1 else f"{label} at time {self.which[t]}"


def _stack(runs: list[Said]) -> Said:
    """Runs one after another."""
    if len(runs) == 1:
        return runs[0]
    sizes = [len(run[0]) for run in runs]
    rewards, priors, numbers, laws = (list(parts) for parts in zip(*runs, strict=True))
    return (
        torch.cat(rewards),
        _stacked(priors, sizes),
        _stacked(numbers, sizes),
        _stacked(laws, sizes),
    )


def _stacked(parts: list[Tensor], sizes: list[int]) -> Tensor:
    """Parts by time as one; where some have fewer successors, more of probability 0 are added."""
    if len(parts) == 1:
        return parts[0]
    wide = [max(extents) for extents in zip(*(part.shape[2:] for part in parts), strict=True)]
    out = []
    for part, size in zip(parts, sizes, strict=True):
        if part.ndim == 4:
            part = torch.nn.functional.pad(part, (0, wide[-1] - part.shape[-1]))
        out.append(part.expand(size, part.shape[1], *wide))
    return torch.cat(out)


def _shared(parts: list[Tensor], part: Tensor) -> list[Tensor]:
    """The parts and another; one that only repeats the first takes no memory of its own."""
    first = parts[0][:1] if parts else part
    same = parts and first.shape[1:] == part.shape[1:]
    if same and bool((parts[0] == first).all()) and bool((part == first).all()):
        return [*parts, first]
    return [*parts, part]


def _merged(parts: list[Tensor], sizes: list[int]) -> Tensor:
    """Parts by time as one, with a single time if all are alike."""
    first = parts[0]
    if all(part.data_ptr() == first.data_ptr() for part in parts):
        return _once(first)
    return _stacked(parts, sizes)


def _known(numbers: Tensor, probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """Next states that the table does not have, which no play within the horizon reaches, go."""
    if int(numbers.min()) >= 0:
        return numbers, probabilities
    return numbers.clamp_min(0), torch.where(numbers < 0, 0.0, probabilities)


def _once(x: Tensor) -> Tensor:
    """One time instead of all, if they are alike."""
    return x[:1].clone() if len(x) > 1 and bool((x == x[:1]).all()) else x
