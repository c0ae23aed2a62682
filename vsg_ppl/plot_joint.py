"""The picture of what a public signal makes two agents play: its law, and that of joint actions."""

from __future__ import annotations

import torch

from vsg_ppl.plot_panels import Panel, action_names, short, state_name
from vsg_ppl.signal_table import base_states, signal_labels
from vsg_ppl.solution import Solution

STATES = 3
"""States of which the joint law is drawn at most."""


def joint_panels(solution: Solution) -> list[list[Panel]]:
    """σ and, below it, the law of joint actions; none but of one-shot games of two agents.

    >>> import vsg_ppl as vsg
    >>> from vsg_ppl.models import Chicken
    >>> solution = vsg.correlated(Chicken(), signals=2)
    >>> [panel.title for row in joint_panels(solution) for panel in row]
    ['law of the signal', 'what is played']
    """
    table, signal = solution.table, solution.signal
    if signal is None or table.horizon != 1 or len(table.agents) != 2:
        return []
    states, joint = base_states(table), solution.joint[0].detach().cpu()
    omega = signal.shape[-1]
    chances = table.initial.reshape(-1, omega).sum(-1).cpu()
    possible = torch.nonzero(chances > 0)[:STATES, 0].tolist()
    law = Panel(
        "law of the signal",
        signal[0, possible].detach().cpu().numpy(),
        [state_name(states[k]) for k in possible],
        [short(label) for label in signal_labels(table)],
        "state",
    )
    row, column = table.agents
    played = [
        Panel(
            "what is played" + (f" in {state_name(states[k])}" if len(states) > 1 else ""),
            joint[k].numpy(),
            action_names(table, row),
            action_names(table, column),
            short(row),
            short(column),
        )
        for k in possible
    ]
    return [[law], *([panel] for panel in played)]
