"""Unknowns of a game program: what an observer does not know, and the agents do.

A continuous ``pyro.sample`` in a program has no table. Inference reads it as one number that holds
for the whole of play, with that law as its prior; a ``pyro.param`` as one with a flat prior. A
vector of them is declared as one event, ``dist.Normal(torch.zeros(3), 1.0).to_event(1)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from types import SimpleNamespace
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from vsg_ppl.errors import GameError, telling
from vsg_ppl.game import Game, call, discount, horizon, role, takes, title
from vsg_ppl.handlers.given import GivenMessenger


class Given:
    """A game whose unknowns are fixed; made by `given`."""

    def __init__(self, game: Game, values: Mapping[str, Tensor], gamma: float | None = None):
        self.game, self.values = game, dict(values)
        self.agents, self.name = game.agents, title(game)
        self.horizon = getattr(game, "horizon", None)
        if gamma is None:
            found = self.gamma()
            gamma = float(found.detach()) if isinstance(found, Tensor) else found
        self.discount = gamma
        self.step = self._wrap(game.step)

    def gamma(self) -> Any:
        """The discount, a tensor where it is computed from unknowns; ``None`` if there is none."""
        with GivenMessenger(self.values):
            return getattr(self.game, "discount", None)

    def initial(self) -> Any:
        """Draw the first state."""
        with GivenMessenger(self.values):
            return self.game.initial()

    def _wrap(self, step: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(step)  # keeps its arguments known
        def fixed(*args: Any, **kwargs: Any) -> Any:
            with GivenMessenger(self.values):
                return step(*args, **kwargs)

        return fixed


def given(game: Game, values: Mapping[str, Any]) -> Given:
    """The game whose unknowns take these values: an ordinary game, with a table.

    Args:
        game: a program with continuous ``pyro.sample`` or ``pyro.param`` sites.
        values: a number or tensor for each of them, by name. More than are there are not allowed.

    Raises:
        GameError: an unknown has no value, or a value no unknown.

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
    >>> vsg.tabulate(vsg.given(Choice(), {"taste": 2.0})).rewards[0][0, 0, 0]
    tensor([0., 2.], dtype=torch.float64)
    """
    fixed = {name: _number(name, value) for name, value in values.items()}
    with torch.random.fork_rng(devices=[]):
        found = list(draw_unknowns(game))
    for name in fixed:
        if name not in found:
            raise GameError(
                f"{title(game)} has no unknown '{name}'",
                hint=f"one of {', '.join(found)}." if found else "none: it has no unknowns.",
            )
    for name in found:
        if name not in fixed:
            raise GameError(f"the unknown '{name}' of {title(game)} is given no value")
    return Given(game, fixed)


def draw_unknowns(game: Game) -> dict[str, Tensor]:
    """Sample the unknowns of a game, by name: a Pyro program with just these sites.

    The game's discount, first state and step run once each, a step that takes the time once for
    each time; their other sites are drawn and hidden.
    """
    with _OnlyUnknowns() as unknowns, telling(f"the program of {title(game)}"):
        gamma, steps = getattr(game, "discount", None), getattr(game, "horizon", None)
        gamma = gamma.detach() if isinstance(gamma, Tensor) else gamma
        _ = discount(SimpleNamespace(discount=gamma, horizon=steps, name=title(game)))
        state = game.initial()
        for t in range((horizon(game) or 1) if takes(game.step, "t") else 1):
            call(game.step, state, t=t)
    found: dict[str, Tensor] = unknowns.values
    return found


class Flat(dist.ImproperUniform):
    """A flat prior in the unconstrained coordinates of its support: its mode is maximum likelihood.

    For a positive number it is flat in the logarithm. It is improper: where the data leave a
    direction free, so is the posterior.

    Args:
        start: where inference starts, of the unknown's shape; a draw of the prior is this value.
        support: of the unknown, the reals by default.

    >>> from torch.distributions.constraints import positive
    >>> Flat(2.0, positive).sample()
    tensor(2., dtype=torch.float64)
    """

    def __init__(self, start: Any, support: Any = dist.constraints.real) -> None:
        self.start = torch.as_tensor(start).detach()
        if not self.start.is_floating_point() or not isinstance(start, Tensor):
            self.start = self.start.double()
        event = support.event_dim
        shape = self.start.shape
        super().__init__(support, shape[: len(shape) - event], shape[len(shape) - event :])  # type: ignore[no-untyped-call]

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """The start."""
        return self.start.expand(torch.Size(sample_shape) + self.start.shape).clone()

    sample = rsample

    def log_prob(self, value: Tensor) -> Tensor:
        """What takes the change of coordinates back."""
        transform = torch.distributions.biject_to(self.support)
        free = transform.inv(value)
        change: Tensor = -transform.log_abs_det_jacobian(free, value)
        while change.ndim > len(self.batch_shape):
            change = change.sum(-1)
        return change.expand(self.batch_shape)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Flat:
        """To a batch, as Pyro asks of every law."""
        return Flat(self.start.expand(torch.Size(batch_shape) + self.event_shape), self.support)


class _OnlyUnknowns(Messenger):
    """Shows the unknowns of a program to what stands around, each once, and hides the rest."""

    def __enter__(self) -> Any:
        self.values: dict[str, Tensor] = {}
        self.shown: set[str] = set()
        return super().__enter__()

    def _pyro_sample(self, msg: Any) -> None:
        name = msg["name"]
        if name in self.values:
            msg["value"], msg["done"], msg["stop"] = self.values[name], True, True
        elif name in self.shown:  # a parameter's own prior
            return
        elif role(msg) is None and _continuous(msg):
            self.shown.add(name)
        else:
            msg["stop"] = True

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["name"] in self.shown:
            self.values[msg["name"]] = msg["value"]

    def _pyro_param(self, msg: Any) -> None:
        name = msg["name"]
        if name not in self.values:
            self.shown.add(name)
            pyro.sample(name, _flat_prior(msg))
        msg["value"], msg["done"], msg["stop"] = self.values[name], True, True


class Once(Messenger):
    """A site that is sampled again keeps its value: reward programs may share their unknowns.

    >>> with Once():
    ...     bool(pyro.sample("w", dist.Normal(0.0, 1.0)) == pyro.sample("w", dist.Normal(0.0, 1.0)))
    True
    """

    def __enter__(self) -> Any:
        self.values: dict[str, Tensor] = {}
        return super().__enter__()

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.values:
            msg["value"], msg["done"], msg["stop"] = self.values[msg["name"]], True, True

    def _pyro_post_sample(self, msg: Any) -> None:
        self.values[msg["name"]] = msg["value"]


class FreeParameters(Messenger):
    """Makes ``pyro.param`` sites unknowns, with flat priors, for whatever inference stands around.

    >>> with pyro.poutine.trace() as found, FreeParameters():
    ...     _ = pyro.param("pay", torch.tensor(2.0), constraint=dist.constraints.positive)
    >>> found.trace.nodes["pay"]["type"], found.trace.nodes["pay"]["fn"].support
    ('sample', GreaterThan(lower_bound=0.0))
    """

    def _pyro_param(self, msg: Any) -> None:
        msg["value"] = pyro.sample(msg["name"], _flat_prior(msg))
        msg["done"], msg["stop"] = True, True


def _flat_prior(msg: Any) -> Any:
    """The prior of a ``pyro.param``: flat, from the value that the parameter starts from."""
    name, store = msg["name"], pyro.get_param_store()
    start = msg["args"][1] if len(msg["args"]) > 1 else msg["kwargs"].get("init_tensor")
    support = msg["kwargs"].get("constraint", dist.constraints.real)
    if isinstance(start, torch.nn.Parameter):  # its module would go on with its own value
        raise GameError(
            "a network's own weights cannot be inferred",
            hint="give them priors: pyro.nn.PyroSample, or to_pyro_module_ of pyro.nn.module.",
            site=name,
        )
    start = start() if callable(start) else start
    if start is None:
        if name not in store:
            raise GameError("this parameter has no value to start from", site=name)
        start, support = store[name], store._constraints[name]
    law = Flat(torch.as_tensor(start), support)
    return law.to_event(len(law.batch_shape))  # type: ignore[no-untyped-call]


def _continuous(msg: Any) -> bool:
    fn = msg["fn"]
    plain = not msg["is_observed"] and not site_is_subsample(msg)
    finite = getattr(fn, "has_enumerate_support", False) or type(fn).__name__ == "Delta"
    return plain and not finite and not (msg["infer"] or {}).get("_deterministic")


def _number(name: str, value: Any) -> Tensor:
    try:
        return torch.as_tensor(value, dtype=None if isinstance(value, Tensor) else torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise GameError(f"the value of '{name}' is {value!r}, not a number or a tensor") from None
