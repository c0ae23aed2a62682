"""Searches of one agent's best response in plays of a program: on a grid, and by climbing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vsg_ppl.errors import GameError
from vsg_ppl.game import horizon, takes
from vsg_ppl.guides.supports import Support
from vsg_ppl.rollout import Response, Rollout, Values

FEW_STATES = 16
"""Up to so many different states, a response has an action for each; beyond, it is a network."""

WIDTH = 16
"""Of the hidden layer of such a network."""

PLAYS = 32
"""Of each candidate in a step of a search."""


class Search:
    """The searches of one agent's response.

    Candidates are rows of numbers, (C, P): for each state met a point of R^D that its sites map
    into their supports, or the weights of a network.
    """

    def __init__(self, rollout: Rollout, agent: str, starts: int, iterations: int) -> None:
        self.rollout, self.agent = rollout, agent
        self.starts, self.iterations = starts, iterations
        self.sites: list[Support] = list(rollout.first.supports[agent].values())
        self.size = sum(site.size for site in self.sites)
        states = rollout.visited(agent, PLAYS)
        self.centre, self.spread = states.mean(0), states.std(0, correction=0).clamp_min(1e-6)
        self.states = states if len(states) <= FEW_STATES else None
        self.ends = horizon(rollout.game) or 0
        timed = [rollout.game.step, *rollout.timed]
        always = len(states) == 1 and not any(takes(program, "t") for program in timed)
        self.steps = 1 if always else None  # every step is as the first

    def best(self) -> tuple[Tensor, str]:
        """The best candidate, (P,), and the search that found it."""
        found = []
        with torch.no_grad():
            points = _grid(self.sites)
            if points is not None and self.states is not None:
                found.append((self.on_grid(points), "grid"))
        climbed = self.climb()
        if climbed is None:
            with torch.no_grad():
                found.append((self.narrow(), "cross-entropy"))
        else:
            found.append((climbed, "gradient"))
        with torch.no_grad():
            ends = [self.worth(rows, 8 * PLAYS) for rows, _ in found]
        k = max(range(len(found)), key=lambda k: float(ends[k].max()))
        return found[k][0][ends[k].argmax()], found[k][1]

    def on_grid(self, points: Tensor) -> Tensor:
        """The best constant, and what is best for each state in turn, (1 or 2, P)."""
        assert self.states is not None
        n, m = len(self.states), len(points)
        constant = points.repeat(1, n)
        table = constant[self.worth(constant).argmax()]
        rows = [table]
        for _ in range(2 if n > 1 else 0):
            tried = table.reshape(1, 1, n, -1).repeat(n, m, 1, 1)
            for s in range(n):
                tried[s, :, s] = points
            best = self.worth(tried.reshape(n * m, -1)).reshape(n, m).argmax(-1)
            table = points[best].reshape(-1)
            rows.append(table)
        return torch.stack(rows)

    def climb(self) -> Tensor | None:
        """Gradient ascent from all starts, (starts, P); ``None`` if there is no gradient."""
        rows = self.first(self.starts).requires_grad_()
        rate = 0.2 if self.states is not None else 0.02
        optimiser = torch.optim.Adam([rows], lr=rate)
        fall = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.02, self.iterations)
        for k in range(self.iterations):
            try:
                [slope] = torch.autograd.grad(self.worth(rows, PLAYS, score=True).sum(), [rows])
            except (RuntimeError, GameError):  # no graph, or a program that leaves torch
                return None
            if not slope.isfinite().all() or (k == 0 and not slope.any()):
                return None
            rows.grad = -slope
            optimiser.step()
            fall.step()
        return rows.detach()

    def narrow(self) -> Tensor:
        """The cross-entropy method, (2, P): the mean of its last law, and the best row seen."""
        mean, spread = torch.zeros(self.width).double(), torch.full((self.width,), 2.0).double()
        most, top = -torch.inf, mean
        for _ in range(max(1, self.iterations // 3)):
            rows = mean + spread * torch.randn(64, self.width).double()
            paid = self.worth(rows)
            elite = rows[paid.topk(8).indices]
            if float(paid.max()) > most:
                most, top = float(paid.max()), elite[0]
            mean = elite.mean(0)
            spread = 0.3 * spread + 0.7 * elite.std(0)
        return torch.stack([mean, top])

    def worth(self, rows: Tensor, plays: int = PLAYS, *, score: bool = False) -> Tensor:
        """Mean returns of candidates, (C,); with ``score`` such that their gradient is right."""
        many = len(rows)
        paid = self.rollout.returns(many * plays, self.agent, self.response(rows), steps=self.steps)
        mine = paid[self.agent].reshape(many, plays)
        if score and paid[""].requires_grad:
            off = mine.detach() - mine.detach().mean(1, keepdim=True)
            mine = mine + off * paid[""].reshape(many, plays)
        return mine.mean(1)

    @property
    def width(self) -> int:
        """P."""
        if self.states is not None:
            return len(self.states) * self.size
        return WIDTH * (len(self.centre) + 2) + (WIDTH + 1) * self.size

    def first(self, many: int) -> Tensor:
        """Random candidates, (many, P)."""
        if self.states is not None:
            return 1.5 * torch.randn(many, self.width).double()
        inputs = WIDTH * (len(self.centre) + 2)
        rows = torch.randn(many, self.width).double()
        rows[:, :inputs] *= (len(self.centre) + 1) ** -0.5
        rows[:, inputs:] *= WIDTH**-0.5
        return rows

    def response(self, rows: Tensor) -> Response:
        """What C candidates do in C·K plays, each in K of them."""

        def respond(seen: Tensor, t: int) -> Values:
            wide = seen.reshape(len(rows), -1, seen.shape[-1])
            x = self._points(rows, wide, t).reshape(len(seen), -1)
            split = x.split([site.size for site in self.sites], -1)
            return {site.site: site.value(y) for site, y in zip(self.sites, split, strict=True)}

        return respond

    def _points(self, rows: Tensor, seen: Tensor, t: int) -> Tensor:
        """Points (C, K, D) behind the actions."""
        if self.states is not None:
            table = rows.reshape(len(rows), len(self.states), self.size)
            near = torch.cdist(seen.detach(), self.states.expand(len(rows), -1, -1)).argmin(-1)
            return table.gather(1, near[..., None].expand(-1, -1, self.size))
        clock = torch.full_like(seen[..., :1], t / self.ends if self.ends else 0.0)
        inputs = torch.cat([(seen - self.centre) / self.spread, clock], -1)
        cut = [WIDTH * inputs.shape[-1], WIDTH, WIDTH * self.size, self.size]
        one, bias, two, end = rows.split(cut, -1)
        hidden = (inputs @ one.reshape(len(rows), -1, WIDTH) + bias[:, None]).tanh()
        points: Tensor = hidden @ two.reshape(len(rows), WIDTH, -1) + end[:, None]
        return points

    def text(self, row: Tensor) -> tuple[str, ...]:
        """A candidate in words."""
        if self.states is None:
            return (f"a network of the state ({self.width} weights)",)
        done = self.response(row[None])(self.states, 0)
        words = [
            ", ".join(_words(done[site.site][s], site, len(self.sites)) for site in self.sites)
            for s in range(len(self.states))
        ]
        if len(set(words)) == 1:
            return (f"always {words[0]}",)
        places = zip(self.states, words, strict=True)
        return tuple(f"in {_numbers(place)}: {word}" for place, word in places)


def _grid(sites: Sequence[Support]) -> Tensor | None:
    """Points behind actions, (G, D), if the agent has at most two free numbers."""
    if len(sites) != 1:
        return None
    [site] = sites
    if site.kind == "finite":
        return torch.eye(site.size).double()
    if site.kind == "simplex":
        if site.size > 3:
            return None
        steps = torch.arange(21 if site.size == 3 else 101).double()
        shares = torch.cartesian_prod(*[steps / steps[-1]] * (site.size - 1)).reshape(
            -1, site.size - 1
        )
        shares = torch.cat([shares, 1 - shares.sum(-1, keepdim=True)], -1)
        return shares[shares[:, -1] > -1e-9].clamp_min(1e-9).log()
    if site.size > 2:
        return None
    count = 101 if site.size == 1 else 21
    if site.low.isfinite().all() and site.high.isfinite().all():
        axis = torch.linspace(-1, 1, count).double().clamp(-1 + 1e-7, 1 - 1e-7).atanh()
    else:
        axis = torch.linspace(-4, 4, count).double()
    return torch.cartesian_prod(*[axis] * site.size).reshape(-1, site.size)


def _words(value: Tensor, site: Support, sites: int) -> str:
    return (f"{site.site} " if sites > 1 else "") + _numbers(value)


def _numbers(value: Tensor) -> str:
    """Numbers to three digits of the largest of them, or three places."""
    flat = value.reshape(-1).double()
    step = 10.0 ** (torch.cat([flat.abs(), torch.ones(1)]).max().log10().floor().item() - 3)
    words = [f"{round(x / step) * step + 0.0:.4g}" for x in flat.tolist()]
    return words[0] if len(words) == 1 else f"({', '.join(words)})"
