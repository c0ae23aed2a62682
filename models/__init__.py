"""Game programs, one per file.

The folder lies at the top of the repository and is installed as ``vsg_ppl.models``. A game of your
own needs no entry here: the command line takes a path to a file. ``GAMES`` names the bundled games.
"""

if __name__ != "vsg_ppl.models":
    raise ImportError(
        f"this package is vsg_ppl.models, not {__name__!r}: "
        "write `import vsg_ppl.models` or `from vsg_ppl.models import ...`"
    )

from vsg_ppl.models.arrays import ArrayGame, matrix_game
from vsg_ppl.models.asymmetric_pennies import AsymmetricPennies, PenniesOfUnknownTaste
from vsg_ppl.models.battle_of_the_sexes import BattleOfTheSexes
from vsg_ppl.models.beach_bar import BeachBar
from vsg_ppl.models.braess import Braess
from vsg_ppl.models.building_evacuation import BuildingEvacuation
from vsg_ppl.models.chicken import Chicken
from vsg_ppl.models.congestion import Congestion
from vsg_ppl.models.crowd_motion import CrowdMotion
from vsg_ppl.models.differential import Differential
from vsg_ppl.models.equilibrium_price import EquilibriumPrice
from vsg_ppl.models.grid import GridGame
from vsg_ppl.models.hedge import Hedge
from vsg_ppl.models.left_right import LeftRight
from vsg_ppl.models.linear_quadratic import LinearQuadratic
from vsg_ppl.models.malware import Malware
from vsg_ppl.models.matching_pennies import MatchingPennies
from vsg_ppl.models.prisoners_dilemma import PrisonersDilemma
from vsg_ppl.models.random_game import RandomGame
from vsg_ppl.models.random_linear import RandomLinear
from vsg_ppl.models.rock_paper_scissors import RockPaperScissors
from vsg_ppl.models.rock_paper_scissors_crowd import RockPaperScissorsCrowd
from vsg_ppl.models.routing import Network, Routing
from vsg_ppl.models.shapley import Shapley
from vsg_ppl.models.soccer import Soccer
from vsg_ppl.models.stag_hunt import StagHunt
from vsg_ppl.models.susceptible_infected import SusceptibleInfected
from vsg_ppl.models.thermostat import Thermostat
from vsg_ppl.models.three_agents import ThreeAgents
from vsg_ppl.models.torus_crowd import TorusCrowd
from vsg_ppl.models.treasure_hunting import TreasureHunting

#: Bundled games by the name of their file; each is a dataclass whose parameters have defaults.
GAMES: dict[str, type] = {
    "asymmetric_pennies": AsymmetricPennies,
    "battle_of_the_sexes": BattleOfTheSexes,
    "beach_bar": BeachBar,
    "braess": Braess,
    "building_evacuation": BuildingEvacuation,
    "chicken": Chicken,
    "congestion": Congestion,
    "crowd_motion": CrowdMotion,
    "equilibrium_price": EquilibriumPrice,
    "grid": GridGame,
    "hedge": Hedge,
    "left_right": LeftRight,
    "linear_quadratic": LinearQuadratic,
    "malware": Malware,
    "matching_pennies": MatchingPennies,
    "prisoners_dilemma": PrisonersDilemma,
    "random_game": RandomGame,
    "random_linear": RandomLinear,
    "rock_paper_scissors": RockPaperScissors,
    "rock_paper_scissors_crowd": RockPaperScissorsCrowd,
    "shapley": Shapley,
    "soccer": Soccer,
    "stag_hunt": StagHunt,
    "susceptible_infected": SusceptibleInfected,
    "thermostat": Thermostat,
    "three_agents": ThreeAgents,
    "torus_crowd": TorusCrowd,
    "treasure_hunting": TreasureHunting,
}

#: Bundled games whose actions are numbers: they have no table, and are learnt rather than solved.
CONTINUOUS_GAMES: dict[str, type] = {
    "differential": Differential,
    "routing": Routing,
}

__all__ = [
    "CONTINUOUS_GAMES",
    "GAMES",
    "ArrayGame",
    "AsymmetricPennies",
    "BattleOfTheSexes",
    "BeachBar",
    "Braess",
    "BuildingEvacuation",
    "Chicken",
    "Congestion",
    "CrowdMotion",
    "Differential",
    "EquilibriumPrice",
    "GridGame",
    "Hedge",
    "LeftRight",
    "LinearQuadratic",
    "Malware",
    "MatchingPennies",
    "Network",
    "PenniesOfUnknownTaste",
    "PrisonersDilemma",
    "RandomGame",
    "RandomLinear",
    "RockPaperScissors",
    "RockPaperScissorsCrowd",
    "Routing",
    "Shapley",
    "Soccer",
    "StagHunt",
    "SusceptibleInfected",
    "Thermostat",
    "ThreeAgents",
    "TorusCrowd",
    "TreasureHunting",
    "matrix_game",
]
