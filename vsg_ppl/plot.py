"""Pictures of a solution: what the agents play, and how it was found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from vsg_ppl.plot_history import STORY, draw_history, heading, tells
from vsg_ppl.plot_joint import joint_panels
from vsg_ppl.plot_panels import (
    INK,
    ROWS,
    Panel,
    action_names,
    check_picture,
    draw_panels,
    inches,
    parts_in_words,
    state_name,
    write_picture,
)
from vsg_ppl.simulate import simulate
from vsg_ppl.solution import Solution
from vsg_ppl.table import Table

PANELS = 12
"""Heat maps drawn at most."""

PLAYS, STEPS = 500, 200
"""Plays, and steps of each at most, that tell which states are visited."""


def plot_solution(solution: Solution, path: str | Path | None = None) -> Figure:
    """Policies as heat maps; beside them gap, residual, temperature and ELBOs by iteration.

    Of a correlated equilibrium of a one-shot game of two agents, beside them the law of the signal
    and of what is played.

    A policy of a game with a horizon is drawn over time if the game is small, else at the first and
    the last time. Of many states, those are shown that play visits most. A mean-field game's
    picture is that of its crowd, see `plot_crowd`.

    Args:
        solution: of one game.
        path: where to write the picture, by its ending a PNG, SVG or PDF file.

    Returns:
        The figure; it belongs to no window and no state of pyplot.

    Raises:
        GameError: a batch of games; a path that cannot be written.

    >>> import vsg_ppl as vsg
    >>> from vsg_ppl.models import StagHunt
    >>> figure = plot_solution(vsg.nash(StagHunt()))
    >>> [axes.get_title() for axes in figure.axes if axes.get_title()]
    ['row', 'col']
    """
    if solution.crowd is not None:
        from vsg_ppl.plot_crowd import plot_crowd

        return plot_crowd(solution, path)
    check_picture(solution, path)
    grid, notes = _panels(solution)
    cell, high = inches(grid)
    wide = max(len(row) for row in grid) * cell + 1.0
    wide = max(wide, 4.0)
    joint = joint_panels(solution)
    beside = inches(joint) if joint else (0.0, 0.0)
    high = max(high, beside[1])
    story = beside[0] + 1.4 if joint else STORY if tells(solution) else 0.0
    figure = Figure(figsize=(wide + story, high), layout="constrained")
    if story:
        parts: Any = figure.subfigures(1, 2, width_ratios=(wide, story), wspace=0.02)
        draw_panels(parts[0], grid, cell, notes)
        if joint:
            draw_panels(parts[1], joint, beside[0], [])
        else:
            draw_history(parts[1], solution)
    else:
        draw_panels(figure, grid, cell, notes)
    figure.suptitle(heading(solution), fontsize=11, color=INK, parse_math=False)
    if path is not None:
        write_picture(figure, Path(path))
    return figure


def _panels(solution: Solution) -> tuple[list[list[Panel]], list[str]]:
    """The heat maps, row by row, and notes on what they leave out."""
    table = solution.table
    policies = {agent: solution.policies[agent].detach().cpu() for agent in table.agents}
    if (table.horizon or 1) == 1:
        if table.horizon == 1:
            policies = {agent: policy[0] for agent, policy in policies.items()}
        return _at_times(solution, {None: policies})
    if _small_enough(table):
        return _over_time(table, policies), []
    ends = (0, (table.horizon or 1) - 1)
    return _at_times(solution, {t: {a: p[t] for a, p in policies.items()} for t in ends})


def _at_times(
    solution: Solution, policies: dict[int | None, dict[str, Tensor]]
) -> tuple[list[list[Panel]], list[str]]:
    """A panel, states by actions, for each agent and each of some times (none is always)."""
    table = solution.table
    agents = table.agents[: PANELS // len(policies)]
    notes = []
    if len(agents) < len(table.agents):
        notes.append(f"{len(agents)} of {len(table.agents)} agents")
    across = 1 if len(table.states) == 1 else 2 if len(policies) * len(agents) == 2 else 4
    most = ROWS if len(policies) * len(agents) <= across else ROWS // 2
    numbers = {t: _most_visited(solution, t or 0, most) for t in policies}
    panels = []
    for agent in agents:
        for t, now in policies.items():
            rows = numbers[t]
            panels.append(
                Panel(
                    agent if t is None else f"{agent}, t = {t}",
                    now[agent][rows].numpy(),
                    [state_name(table.states[k]) for k in rows],
                    action_names(table, agent),
                    parts_in_words(table),
                )
            )
    shown, there = max(map(len, numbers.values())), len(table.states)
    if shown == most < there:
        notes.append(f"the {shown} most visited of {there:,} states")
    elif shown < there:
        notes.append(f"the states that can occur, of {there:,}")
    return [panels[k : k + across] for k in range(0, len(panels), across)], notes


def _small_enough(table: Table) -> bool:
    """Whether a policy can be drawn over time: a panel for each agent, or for each action."""
    states = len(table.states)
    if states == 1:
        return len(table.agents) <= PANELS and sum(table.sizes) <= 2 * ROWS
    down = max(table.sizes) if len(table.agents) == 1 else len(table.agents)
    return max(table.sizes) <= 6 and down * states <= 2 * ROWS


def _over_time(table: Table, policies: dict[str, Tensor]) -> list[list[Panel]]:
    """Actions by time for each agent or, if there are several states, those for each action."""
    times = [str(t) for t in range(table.horizon or 1)]
    if len(table.states) == 1:
        return [
            [Panel(agent, policy[:, 0].T.numpy(), action_names(table, agent), times, "", "time")]
            for agent, policy in policies.items()
        ]
    states = [state_name(label) for label in table.states]
    grid = []
    for agent, policy in policies.items():
        if table.reachable is not None:
            policy = policy.masked_fill(~table.reachable.cpu()[..., None], torch.nan)
        grid.append(
            [
                Panel(
                    f"{agent}: {name}", now.T.numpy(), states, times, parts_in_words(table), "time"
                )
                for name, now in zip(action_names(table, agent), policy.unbind(-1), strict=True)
            ]
        )
    return [[panel] for panel in grid[0]] if len(grid) == 1 else grid


def _most_visited(solution: Solution, t: int, most: int) -> list[int]:
    """Numbers of the states to show at time t, in order: those that occur, or occur most."""
    table = solution.table
    numbers = torch.arange(len(table.states))
    if table.reachable is not None:
        numbers = numbers[table.reachable[t].cpu()]
    if len(numbers) > most:
        steps = t + 1 if table.horizon is not None else STEPS
        plays = simulate(table, solution.policies, PLAYS, steps=steps)
        visited = plays.states if table.horizon is None else plays.states[:, t]
        visits = torch.bincount(visited.reshape(-1).cpu(), minlength=len(table.states))
        order = visits[numbers].argsort(descending=True, stable=True)
        numbers = numbers[order[:most]].sort().values
    return [int(k) for k in numbers]
