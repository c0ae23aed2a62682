"""Games from and to PettingZoo: parallel environments, for simulators and for other learners.

PettingZoo: J. K. Terry et al., 2021, "PettingZoo: Gym for multi-agent reinforcement learning".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

from vsg_ppl.errors import GameError, MissingExtra
from vsg_ppl.game import Game, is_mean_field, title
from vsg_ppl.game import agents as agents_of
from vsg_ppl.game import horizon as horizon_of

if TYPE_CHECKING:
    from vsg_ppl.game_env import GameEnv
    from vsg_ppl.simulator import SimulatorGame

Illegal = Literal["raise", "prior"]
"""What happens to an action that is not available: an error, or another by the prior."""


def to_pettingzoo(
    game: Game, *, max_steps: int | None = None, illegal: Illegal = "raise"
) -> GameEnv:
    """A game program as a `pettingzoo.ParallelEnv`, for other libraries to train on.

    *Actions.* A site with finitely many actions is a `Discrete`, a continuous one a `Box` by the
    bounds of its prior's support (float32; a number is a vector of length 1). A simplex is a box
    [0, 1]^P, whose vectors are divided by their sum; zeros mean equal shares. Several finite sites
    of an agent are one `Discrete` of the joint action, numbered as in tables (the last site counts
    fastest); otherwise several sites are a `Dict` by name. ``infos[agent]["action_mask"]`` says
    which finite actions are available now, that is of positive prior probability. Who sits a step
    out may choose anything, without effect; its mask has the first action alone.

    *Observations.* Everybody sees everything: one vector of the state's parts, the public signals
    of this step, and, where the game has a horizon of two steps or more, the time. A finite game is
    tabulated, if its table is of moderate size, and its observations are a `MultiDiscrete`: each
    number counts from its least value, ``env.low``. Those of other games are an unbounded `Box` of
    float32. ``env.state()`` is the same vector.

    *Ends.* The game's horizon and ``max_steps`` truncate a play. Play terminates where the table
    says that nothing happens any more: the state stays and pays nothing, whatever is done, as after
    a goal in `Soccer`. The discount is left to the learner: ``env.discount``, also in the infos.

    *Chance* has a random stream of its own, in place of torch's (on the CPU): the same seed and
    actions give the same play. Rewards are those of the program; several optimalities of an agent
    add up.

    Args:
        game: the game program; not a mean-field game.
        max_steps: the most decisions in a play. A game without a horizon needs it.
        illegal: "raise", or "prior" for learners that know no masks: the prior then chooses in
            place of an action that is not available.

    Raises:
        GameError: the game has no horizon and there is no ``max_steps``; it is a mean-field game,
            or a simulator already; an action's prior is over a set that no space describes.
        MissingExtra: PettingZoo is not installed.

    >>> from vsg_ppl.models import StagHunt
    >>> env = to_pettingzoo(StagHunt(), max_steps=100)
    >>> observations, infos = env.reset(seed=0)
    >>> env.action_space("row"), env.observation_space("row")
    (Discrete(2), MultiDiscrete([2]))
    >>> observations, rewards, terminations, truncations, infos = env.step({"row": 1, "col": 1})
    >>> rewards
    {'row': 2.0, 'col': 2.0}
    """
    try:
        import pettingzoo  # noqa: F401
    except ImportError:
        raise MissingExtra("pettingzoo", extra="rl") from None
    from vsg_ppl.game_env import GameEnv
    from vsg_ppl.simulator import SimulatorGame

    agents_of(game)
    if isinstance(game, SimulatorGame):
        raise GameError(f"{title(game)} comes from an environment", hint="its `env`.")
    if is_mean_field(game):
        raise GameError(
            f"{title(game)} is a mean-field game: its step needs the crowd",
            hint="vsg.facing(game, crowd), the game of one agent against a given crowd.",
        )
    ends = horizon_of(game)
    if max_steps is None and ends is None:
        raise GameError(
            f"a play of {title(game)} has no end: the game has no horizon",
            hint="max_steps=100, to truncate plays.",
        )
    if max_steps is not None and (isinstance(max_steps, bool) or int(max_steps) != max_steps):
        raise GameError(f"max_steps is {max_steps!r}; it counts decisions")
    if max_steps is not None and max_steps < 1:
        raise GameError(f"max_steps is {max_steps}; a play has 1 decision or more")
    if illegal not in get_args(Illegal):
        raise GameError(f"illegal is {illegal!r}", hint="one of 'raise', 'prior'.")
    limits = [int(limit) for limit in (max_steps, ends) if limit is not None]
    return GameEnv(game, min(limits), illegal)


def from_pettingzoo(
    env: Any, *, discount: float = 1.0, horizon: int | None = None
) -> SimulatorGame:
    """A `pettingzoo.ParallelEnv` as a game program: its step is one opaque sample site.

    The state is a `World`: what everybody observes, which actions are available, and whether play
    is over. Policies are programs that read their agent's part of it, ``state.observed[agent]``.
    Sampled methods work on the game: `unroll`, `agent_model` and `agent_guide` with `Trace_ELBO`
    (the gradient is that of the score function), `Predictive` with ``parallel=False``. It has no
    table. What the agents do not see of the simulator is hidden from their policies, and the other
    agents' observations are not hidden: a policy that should not use them must not read them.

    *Actions.* `Discrete` is a uniform `Categorical` site over the available actions, by the
    ``action_mask`` in the infos or in the observation; `MultiDiscrete` and `MultiBinary` are one
    site ``<agent>.<k>`` for each element; a bounded `Box` is a uniform vector, one without bounds
    standard normal. Parts of a `Dict` or `Tuple` have sites ``<agent>.<key>``. An environment has
    no priors: those of a program do not come back from `to_pettingzoo`, only what they allow.

    *Ends.* When all agents are terminated or truncated, play stays where it is and pays nothing;
    the environment is not asked any more. An agent that left earlier is paid nothing.

    The environment has one state at a time: a play must be finished before the next begins, and a
    state that was left cannot be gone on from. `initial` resets it with a seed from torch's
    generator, so that `pyro.set_rng_seed` repeats a play.

    Args:
        env: the environment. It must have ``possible_agents``.
        discount: γ; 1 needs a horizon.
        horizon: number of decisions, also where the environment ends by itself.

    Raises:
        GameError: not a parallel environment; a space that has no plain prior; no discount below 1
            and no horizon. When played: a state that was left, an action that carries a gradient.
        MissingExtra: PettingZoo is not installed.

    >>> import pyro, vsg_ppl as vsg
    >>> from pyro import poutine
    >>> from vsg_ppl.models import StagHunt
    >>> env = to_pettingzoo(StagHunt(), max_steps=5)  # in place of any other
    >>> game = from_pettingzoo(env, discount=0.9, horizon=2)
    >>> trace = poutine.trace(vsg.agent_model(game, "row")).get_trace()
    >>> [name for name in trace.nodes if name.startswith(("world", "row", "O_row"))]
    ['world_0', 'row_0', 'world_1', 'O_row_0', 'row_1', 'world_2', 'O_row_1']
    """
    try:
        from pettingzoo import AECEnv, ParallelEnv
    except ImportError:
        raise MissingExtra("pettingzoo", extra="rl") from None
    from vsg_ppl.simulator import SimulatorGame

    if isinstance(env, AECEnv):
        raise GameError(
            f"{env} is an environment whose agents act in turns",
            hint="from_pettingzoo(pettingzoo.utils.aec_to_parallel(env)), where it is safe.",
        )
    if not isinstance(env, ParallelEnv):
        raise GameError(f"a simulator is a pettingzoo.ParallelEnv, not a {type(env).__name__}")
    if not getattr(env, "possible_agents", None):
        raise GameError(f"{env} does not say its possible agents")
    return SimulatorGame(env, discount, horizon)
