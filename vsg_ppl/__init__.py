"""Write a game as a Pyro program; get an equilibrium of it, with a certificate.

>>> import vsg_ppl as vsg
>>> from vsg_ppl.models import StagHunt
>>> solution = vsg.nash(StagHunt())
>>> solution.solved, solution.certificate.nash_gap <= 1e-3
(True, True)
"""

from vsg_ppl import theory
from vsg_ppl.agent import AgentGuide, AgentModel, agent_guide, agent_model
from vsg_ppl.all_nash import all_nash
from vsg_ppl.best_response import BestResponse, best_response
from vsg_ppl.certificate import Certificate, certify
from vsg_ppl.compare import Comparison, compare_hypotheses
from vsg_ppl.correlated import correlated
from vsg_ppl.correlated_certificate import CorrelatedCertificate, correlated_certify
from vsg_ppl.crowd import Crowd
from vsg_ppl.ddpg import iddpg, maddpg
from vsg_ppl.decentralised import nash_decentralised
from vsg_ppl.dense import Arrays, from_arrays, to_arrays
from vsg_ppl.draw import draw_graph
from vsg_ppl.elbo import MarkovELBO
from vsg_ppl.errors import GameError
from vsg_ppl.exact_nash import exact_nash
from vsg_ppl.facing import facing
from vsg_ppl.finite_population import FiniteGap, finite_nash_gap
from vsg_ppl.game import Game, act, optimality, signal
from vsg_ppl.graph import dependency_graph, figure1
from vsg_ppl.handlers.fixed import fixed
from vsg_ppl.infer import infer_opponent
from vsg_ppl.inference import OpponentInference
from vsg_ppl.interop_gambit import from_gambit, to_gambit, write_nfg
from vsg_ppl.interop_openspiel import from_openspiel
from vsg_ppl.interop_pettingzoo import from_pettingzoo, to_pettingzoo
from vsg_ppl.kinds import Kind, kind, potential, potential_value
from vsg_ppl.learning import Learning
from vsg_ppl.logit_path import logit_path
from vsg_ppl.mai import Cooling, mai
from vsg_ppl.masql import masql
from vsg_ppl.mean_field import mean_field_nash
from vsg_ppl.mean_field_certificate import MeanFieldCertificate, mean_field_certify
from vsg_ppl.mean_field_table import MeanFieldTable, mean_field_table
from vsg_ppl.mediated import Mediation, mediated
from vsg_ppl.nash import nash
from vsg_ppl.observations import Observations
from vsg_ppl.observed_files import read_play, write_play
from vsg_ppl.opponent_model import OpponentModel, opponent_model
from vsg_ppl.play_model import PlayModel
from vsg_ppl.plot_learning import plot_learning
from vsg_ppl.plot_network import plot_network
from vsg_ppl.potential_nash import potential_nash
from vsg_ppl.proposals import propose
from vsg_ppl.response_search import FoundResponse, SearchCertificate, certify_by_search
from vsg_ppl.routing import RoutingEquilibrium, routing_equilibrium, routing_potential
from vsg_ppl.sac import sac
from vsg_ppl.schedule import Annealing
from vsg_ppl.simulate import Plays, simulate
from vsg_ppl.solution import Solution
from vsg_ppl.solve import solve
from vsg_ppl.sweep import Sweep, SweepResult, sweep
from vsg_ppl.table import Table
from vsg_ppl.tabulate import tabulate
from vsg_ppl.trajectory_objective import (
    trajectory_gradient,
    trajectory_model,
    trajectory_objective,
)
from vsg_ppl.trajectory_partition import exact_log_partition
from vsg_ppl.unknowns import Flat, given
from vsg_ppl.unroll import unroll
from vsg_ppl.zero_sum import zero_sum

__all__ = [
    "AgentGuide",
    "AgentModel",
    "Annealing",
    "Arrays",
    "BestResponse",
    "Certificate",
    "Comparison",
    "Cooling",
    "CorrelatedCertificate",
    "Crowd",
    "FiniteGap",
    "Flat",
    "FoundResponse",
    "Game",
    "GameError",
    "Kind",
    "Learning",
    "MarkovELBO",
    "MeanFieldCertificate",
    "MeanFieldTable",
    "Mediation",
    "Observations",
    "OpponentInference",
    "OpponentModel",
    "PlayModel",
    "Plays",
    "RoutingEquilibrium",
    "SearchCertificate",
    "Solution",
    "Sweep",
    "SweepResult",
    "Table",
    "act",
    "agent_guide",
    "agent_model",
    "all_nash",
    "best_response",
    "certify",
    "certify_by_search",
    "compare_hypotheses",
    "correlated",
    "correlated_certify",
    "dependency_graph",
    "draw_graph",
    "exact_log_partition",
    "exact_nash",
    "facing",
    "figure1",
    "finite_nash_gap",
    "fixed",
    "from_arrays",
    "from_gambit",
    "from_openspiel",
    "from_pettingzoo",
    "given",
    "iddpg",
    "infer_opponent",
    "kind",
    "logit_path",
    "maddpg",
    "mai",
    "masql",
    "mean_field_certify",
    "mean_field_nash",
    "mean_field_table",
    "mediated",
    "nash",
    "nash_decentralised",
    "opponent_model",
    "optimality",
    "plot_learning",
    "plot_network",
    "potential",
    "potential_nash",
    "potential_value",
    "propose",
    "read_play",
    "routing_equilibrium",
    "routing_potential",
    "sac",
    "signal",
    "simulate",
    "solve",
    "sweep",
    "tabulate",
    "theory",
    "to_arrays",
    "to_gambit",
    "to_pettingzoo",
    "trajectory_gradient",
    "trajectory_model",
    "trajectory_objective",
    "unroll",
    "write_nfg",
    "write_play",
    "zero_sum",
]
