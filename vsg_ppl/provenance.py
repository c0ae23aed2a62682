"""Read a program once, sampled, every value carrying the names of the sites it came from."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from pyro import poutine
from pyro.ops.provenance import detach_provenance, get_provenance, track_provenance
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from vsg_ppl import structure
from vsg_ppl.errors import GameError
from vsg_ppl.game import Act, Game, Optimality, Signal, agents, call, role, title
from vsg_ppl.game import horizon as horizon_of
from vsg_ppl.handlers.at_time import at_time

Names = frozenset[str]


@dataclass(frozen=True)
class Site:
    """A random site of a step, and what its law (or its reward) reads."""

    name: str
    part: Act | Optimality | Signal | None
    reads: Names

    @property
    def base(self) -> str:
        """The name without its time."""
        return self.name[: self.name.rindex("_")]

    @property
    def agent(self) -> str | None:
        """Whose action or optimality it is."""
        return getattr(self.part, "agent", None)


@dataclass(frozen=True)
class Slice:
    """One step: its sites, and what the next state reads. The initial state's ``t`` is −1."""

    t: int
    sites: list[Site]
    following: Names

    @property
    def state(self) -> str:
        """Stands for the state that the step is given; no site is so named."""
        return f"the state of time {self.t}"


class _Reads(TorchFunctionMode):
    """Provenance through every torch call, also where `ProvenanceTensor` alone would lose it.

    That is: tensors made of a list of values, values written in place into a constant, slices by a
    value, and Python numbers made of a value, which ``lost`` remembers.
    """

    LEAVING = {"item", "tolist", "numpy", "__array__", "__dlpack__"} | {
        f"__{number}__" for number in ("int", "float", "complex", "index")
    }
    BRANCHING = {"__bool__", "__contains__", "is_nonzero", "equal", "allclose"}

    def __init__(self) -> None:
        super().__init__()
        self.lost: Names = frozenset()
        # by address of the memory, with a tensor that keeps it from being used for another
        self._written: dict[int, tuple[Tensor, Names]] = {}

    def of(self, x: Any) -> Names:
        """Names of the sites that a tree of values was computed from."""
        found = frozenset[str]().union(*map(get_provenance, _flat(x)))
        if self._written:
            for leaf in _flat(_bare(x)):
                if isinstance(leaf, Tensor) and leaf.layout == torch.strided:
                    found |= self._written.get(_address(leaf), (leaf, frozenset[str]()))[1]
        return found

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if any(map(_is_wrapped, _flat((args, kwargs)))):
            raise GameError(
                "the step uses torch.vmap or torch.func, which hide what is read",
                hint="batched operations without them.",
            )
        read, name = self.of((args, kwargs)), getattr(func, "__name__", "")
        args, kwargs = _bare(args), _bare(kwargs)
        out = func(*args, **kwargs)
        if not read:
            return out
        if name in self.BRANCHING and not _is_library(sys._getframe(1)):
            raise GameError(
                "the step branches (`if`) on a value, so that one run shows one branch only",
                hint="indexing a tensor, or torch.where.",
            )
        if name in self.LEAVING:
            self.lost |= read
        changed = [kwargs.get("out"), args[0] if _in_place(name) else None]
        for tensor in tree_leaves(changed):
            if isinstance(tensor, Tensor) and tensor.layout == torch.strided:
                before = self._written.get(_address(tensor), (tensor, frozenset[str]()))[1]
                self._written[_address(tensor)] = (tensor, before | read)
        tracks = any(isinstance(leaf, Tensor) for leaf in tree_leaves(out))
        return track_provenance(out, read) if tracks else out


class _Sites(Messenger):
    """Gives the value of every random site its own name as provenance: edges are direct."""

    def __init__(self, reads: _Reads, state: str) -> None:
        super().__init__()
        self.reads, self.state = reads, state
        self.found: list[Site] = []

    def _pyro_post_sample(self, msg: Any) -> None:
        part, name = role(msg), msg["name"]
        if site_is_subsample(msg) or (part is None and _is_deterministic(msg)):
            return
        if msg["is_observed"] and not isinstance(part, Optimality):
            raise GameError(
                "a step observes data, and a game is not conditioned on any",
                site=name,
                hint="vsg.optimality(agent, reward) for a reward.",
            )
        read = self.reads.of([msg["value"], msg["mask"], msg["scale"]])
        with suppress(NotImplementedError):  # a law without a density: its sample has read it all
            read |= self.reads.of(msg["fn"].log_prob(_bare(msg["value"])))
        lost = self.reads.lost
        if isinstance(part, Act | Signal):  # they read little, so most numbers cannot matter
            lost &= {self.state, *_may_read(part, self.found)}
        self.found.append(Site(name, part, read | lost))
        msg["value"] = track_provenance(_bare(msg["value"]), frozenset({name}))


def slices(game: Game, steps: int) -> list[Slice]:
    """Run the program, sampled, its random numbers its own."""
    names, horizon = agents(game), horizon_of(game)
    reads, known = _Reads(), set[str]()
    found: list[Slice] = []
    state: Any = None
    with poutine.block(), torch.random.fork_rng(devices=[]), torch.no_grad():
        for t in range(-1, steps):
            part, what = Slice(t, [], frozenset()), "initial" if t < 0 else "step"
            reads.lost = frozenset()
            with _speaking(game, what):
                with _Sites(reads, part.state) as sites, at_time(t), reads:
                    following = (
                        game.initial() if t < 0 else call(game.step, _mark(state, part.state), t=t)
                    )
            part.sites.extend(sites.found)
            if horizon is None or t + 1 < horizon:  # what the last step returns is not used
                part = replace(part, following=reads.of(following) | reads.lost)
                after = _plain(game, what, following)
                if t >= 0 and not structure.same_structure(state, after):
                    raise GameError(
                        f"the step of {title(game)} returns {structure.describe(after)} as the "
                        f"next state, but the initial state is {structure.describe(state)}",
                        hint="return the next state in the structure that `initial` returns.",
                    )
                state = after
            _check_slice(part, names, known)
            known |= {part.state, *(site.name for site in part.sites)}
            found.append(part)
    return found


def _plain(game: Game, what: str, state: Any) -> Any:
    """The state, its leaves tensors of their own, without provenance."""

    def leaf(x: Any) -> Any:
        if x is None:
            return None
        if not isinstance(x, Tensor | bool | int | float):
            raise GameError(
                f"`{what}` of {title(game)} returns a state with a {type(x).__name__}; a state is "
                "a tensor or a number, or a tuple, NamedTuple or dict of them"
            )
        return torch.as_tensor(x).clone()

    return tree_map(leaf, _bare(state))


def _mark(state: Any, name: str) -> Any:
    return tree_map(lambda leaf: track_provenance(leaf, frozenset({name})), state)


@contextmanager
def _speaking(game: Game, program: str) -> Iterator[None]:
    """Turn what the user's code raises into one sentence that says where."""
    try:
        yield
    except GameError:
        raise
    except Exception as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise GameError(
            f"`{program}` of {title(game)} raises {type(error).__name__}: {text}"
        ) from error


def _check_slice(part: Slice, names: tuple[str, ...], known: set[str]) -> None:
    """The rules of the language, as `tabulate` has them; ``known`` is what came before."""
    here: set[str] = set()
    for site in part.sites:
        if site.base in here or site.name in known:
            raise GameError("this name is used for two sites", site=site.name)
        here.add(site.base)
        if part.t < 0 and site.part is not None:
            raise GameError("the initial state is drawn by chance alone", site=site.name)
        if site.agent is not None and site.agent not in names:
            raise GameError(
                f"'{site.agent}' is not among the agents {', '.join(names)}", site=site.name
            )
        _check_memory(site.reads & known, site.name)
        if not isinstance(site.part, Act | Signal):
            continue
        if not site.reads <= {part.state, *_may_read(site.part, part.sites)}:
            raise GameError(
                "the signal's law reads an action or chance"
                if site.agent is None
                else f"the prior of '{site.agent}' reads another's action, or chance",
                site=site.name,
                hint="agents act simultaneously and see the state and the signals alone; what "
                "they should see belongs into the state.",
            )
    _check_memory(part.following & known, None)


def _may_read(part: Act | Signal, sites: list[Site]) -> Names:
    """Beside the state, an act or a signal may read signals and what its own agent does."""
    agent = part.agent if isinstance(part, Act) else None
    return frozenset(
        site.name
        for site in sites
        if isinstance(site.part, Signal) or (isinstance(site.part, Act) and site.agent == agent)
    )


def _check_memory(old: Names, site: str | None) -> None:
    if old:
        raise GameError(
            f"{'this' if site else 'the next state'} reads {min(old)!r} of an earlier step, past "
            "the state",
            site=site,
            hint="make it a part of the state; a game must not remember by itself.",
        )


def _flat(x: Any) -> list[Any]:
    """The leaves of a tree, those of slices too."""
    parts = tree_leaves(x)
    if not any(isinstance(part, slice) for part in parts):
        return parts
    ends = [[p.start, p.stop, p.step] if isinstance(p, slice) else [p] for p in parts]
    return [end for part in ends for end in part]


def _bare(x: Any) -> Any:
    """The same tree without provenance."""

    def leaf(part: Any) -> Any:
        if isinstance(part, slice):
            return slice(*map(detach_provenance, (part.start, part.stop, part.step)))
        return detach_provenance(part) if isinstance(part, Tensor) else part

    return tree_map(leaf, x)


def _in_place(name: str) -> bool:
    if name.startswith("__i"):
        return name not in ("__int__", "__index__", "__invert__", "__iter__")
    return name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))


def _is_wrapped(x: Any) -> bool:
    return isinstance(x, Tensor) and torch._C._functorch.is_functorch_wrapped_tensor(x)


def _address(x: Tensor) -> int:
    return x.untyped_storage().data_ptr()


def _is_library(frame: Any) -> bool:
    """Whether a branch is a distribution's or the crowd's own, as in checking its arguments."""
    module = str(frame.f_globals.get("__name__"))
    return module.startswith(("torch.distributions", "pyro.", "vsg_ppl.crowd"))


def _is_deterministic(msg: Any) -> bool:
    fn = msg["fn"]
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return bool((msg["infer"] or {}).get("_deterministic")) or type(fn).__name__ == "Delta"
