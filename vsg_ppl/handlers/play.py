"""Let agents act by policies instead of by the priors that the program gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pyro.poutine.messenger import Messenger

from vsg_ppl.errors import GameError
from vsg_ppl.game import Act, Signal, call, role, takes
from vsg_ppl.handlers.fixed import fixed

Policy = Callable[..., Any]
"""A Pyro program ``policy(state)`` that samples its agent's action sites.

It may also name ``t``, the time, and ``seen``, a dict of the other agents' actions of this step by
site name: then it is a *conditional* policy π(a^i | s, a^{-i}). In a game with signals the state it
gets is the pair ``(state, {signal: value})``.
"""


class PlayMessenger(Messenger):
    """Agents act by policies: π^i(a^i | s) or π^i(a^i | s, a^{-i}), in place of the prior u^i.

    A policy runs at its agent's first action of a step, one that looks at the others' actions after
    theirs; the step's own action sites then take the chosen values and are hidden, so each action
    is one site of the trace, with the policy's distribution. Who sits a step out chooses nothing.

    Args:
        policies: by agent.
        still: whether their parameters are hidden, see `fixed`.

    >>> import pyro, pyro.distributions as dist, torch
    >>> from pyro import poutine
    >>> import vsg_ppl as vsg
    >>> from vsg_ppl.unroll import unroll
    >>> class Walk:
    ...     agents, horizon = ("walker",), 3
    ...     def initial(self):
    ...         return torch.tensor(0)
    ...     def step(self, place):
    ...         step = vsg.act("walker", dist.Categorical(torch.ones(2)))
    ...         vsg.optimality("walker", step)
    ...         return place + step
    >>> def forward(place):
    ...     pyro.sample("walker", dist.Categorical(torch.tensor([0.0, 1.0])))
    >>> with PlayMessenger({"walker": forward}):
    ...     unroll(Walk())()
    tensor(3)
    """

    def __init__(self, policies: Mapping[str, Policy], *, still: bool = False) -> None:
        super().__init__()
        self.policies = {
            agent: fixed(policy) if still else policy for agent, policy in policies.items()
        }
        if sum(takes(policy, "seen") for policy in policies.values()) > 1:
            raise GameError(
                "two policies want to see the others' actions of the same step",
                hint="let at most one agent's policy take `seen`; others act by their marginals.",
            )

    def __enter__(self) -> PlayMessenger:
        self._state, self._t = None, None
        self._signals: dict[str, Any] = {}
        self._chosen: dict[str, Any] = {}  # by site
        self._chose: set[str] = set()
        self._choosing = False
        super().__enter__()
        return self

    def _pyro_decision(self, msg: Any) -> None:
        self._state, self._t = msg["args"]
        self._signals, self._chosen, self._chose = {}, {}, set()

    def _pyro_sample(self, msg: Any) -> None:
        part = role(msg)
        if self._choosing:  # a policy's own site: `_Record` has marked it
            return
        if isinstance(part, Act) and part.agent in self.policies:
            self.choose(part.agent)
            if part.site not in self._chosen:
                raise GameError(
                    f"the policy of '{part.agent}' does not sample this action",
                    site=part.site,
                    hint=f"add pyro.sample('{part.site}', ...) to the policy.",
                )
            msg["value"] = self._chosen[part.site]
            msg["done"] = msg["stop"] = True

    def _pyro_post_sample(self, msg: Any) -> None:
        part = role(msg)
        if isinstance(part, Signal):
            self._signals[part.site] = msg["value"]

    def choose(self, agent: str) -> Mapping[str, Any]:
        """Run an agent's policy, once for each step; returns all that is chosen so far, by site."""
        if agent not in self._chose:
            self._chose.add(agent)
            policy = self.policies[agent]
            state = (self._state, dict(self._signals)) if self._signals else self._state
            before, self._choosing = self._choosing, True
            try:
                with _Record(agent) as own:
                    call(policy, state, t=self._t, seen=_Seen(self, agent))
            finally:
                self._choosing = before
            self._chosen |= own.values
        return self._chosen


class _Seen(Mapping[str, Any]):
    """The others' actions of this step: each policy runs when somebody looks at its action."""

    def __init__(self, play: PlayMessenger, agent: str) -> None:
        self.play, self.agent = play, agent

    def __getitem__(self, site: str) -> Any:
        for agent in sorted(self.play.policies, key=lambda agent: agent != site):
            if site in self.play.choose(self.agent):
                break
            self.play.choose(agent)
        return self.play.choose(self.agent)[site]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> Mapping[str, Any]:
        for agent in self.play.policies:
            self.play.choose(agent)
        return self.play.choose(self.agent)


class _Record(Messenger):
    """Marks the sample sites of a policy as its agent's actions, and keeps their values."""

    def __init__(self, agent: str) -> None:
        super().__init__()
        self.agent = agent
        self.values: dict[str, Any] = {}

    def _pyro_sample(self, msg: Any) -> None:
        if not msg["is_observed"] and role(msg) is None:
            msg["infer"]["vsg"] = Act(self.agent, msg["name"])

    def _pyro_post_sample(self, msg: Any) -> None:
        part = role(msg)
        if isinstance(part, Act) and part.agent == self.agent:
            self.values[part.site] = msg["value"]


play = PlayMessenger
