"""Write a game as a Pyro program; get an equilibrium of it, with a certificate."""

from vsg_ppl.agent import agent_guide, agent_model
from vsg_ppl.errors import GameError
from vsg_ppl.game import Game, act, optimality, signal
from vsg_ppl.handlers.play import play
from vsg_ppl.table import Table, from_arrays
from vsg_ppl.tabulate import tabulate
from vsg_ppl.unroll import unroll
