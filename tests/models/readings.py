"""Two readings of a step, for the tests: run outcome by outcome, and out of a table."""

from collections import defaultdict
from typing import Any

import torch
from pyro.poutine.messenger import Messenger

from vsg_ppl.game import Act, Optimality, call, role
from vsg_ppl.structure import leaves, rebuild
from vsg_ppl.table import Table

Law = dict[Any, float]


class _Script(Messenger):
    """Plays given actions and given choices of chance, and notes rewards and probability."""

    def __init__(self, actions: dict[str, int], choices: list[int]) -> None:
        super().__init__()
        self.actions, self.choices = actions, choices
        self.sizes: list[int] = []
        self.probability = 1.0
        self.rewards: dict[str, float] = defaultdict(float)

    def _pyro_sample(self, msg: Any) -> None:
        part = role(msg)
        if isinstance(part, Optimality):
            self.rewards[part.agent] += float(msg["fn"].log_factor)
            return
        if isinstance(part, Act):
            choice = self.actions[part.site]
        else:
            place = len(self.sizes)
            self.sizes.append(msg["fn"].probs.shape[-1])
            choice = self.choices[place] if place < len(self.choices) else 0
            self.probability *= float(msg["fn"].probs[choice])
        msg["value"], msg["done"] = torch.tensor(choice), True


def run(game: Any, state: Any, actions: dict[str, int], t: int = 0) -> tuple[Law, dict[str, float]]:
    """The law of the next state and the mean rewards: one plain run for each outcome of chance.

    No vectorisation and no table: scalars go through the program.
    """
    law: Law = defaultdict(float)
    means: dict[str, float] = defaultdict(float)
    pending: list[list[int]] = [[]]
    while pending:
        choices = pending.pop()
        with _Script(actions, choices) as script:
            following = call(game.step, rebuild(state, leaves(state)), t=t)
        # The sites beyond the given choices took their first outcome; queue the others.
        for place in range(len(choices), len(script.sizes)):
            prefix = choices + [0] * (place - len(choices))
            pending += [[*prefix, other] for other in range(1, script.sizes[place])]
        if script.probability > 0:
            law[rebuild(state, [int(leaf) for leaf in leaves(following)])] += script.probability
        for agent, reward in script.rewards.items():
            means[agent] += script.probability * reward
    return dict(law), dict(means)


def look_up(table: Table, k: int, actions: tuple[int, ...], t: int = 0) -> tuple[Law, list[float]]:
    """The law of the next state's label and the rewards, in state number k at a joint action."""

    def entry(tensor: torch.Tensor) -> torch.Tensor:
        wanted = (t, k, *actions)  # a dimension of size 1 means: the same for all
        return tensor[tuple(min(i, n - 1) for i, n in zip(wanted, tensor.shape, strict=False))]

    probabilities = entry(table.probabilities[0])
    successors = torch.arange(len(table.states))
    if table.successors is not None:
        successors = entry(table.successors)
    law: Law = defaultdict(float)
    pairs = zip(successors.tolist(), probabilities.expand(len(successors)).tolist(), strict=True)
    for number, probability in pairs:
        if probability > 0:
            law[table.states[number]] += probability
    return dict(law), [float(entry(rewards[0])) for rewards in table.rewards]
