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
from vsg_ppl.models.battle_of_the_sexes import BattleOfTheSexes
from vsg_ppl.models.chicken import Chicken
from vsg_ppl.models.congestion import Congestion
from vsg_ppl.models.grid import GridGame
from vsg_ppl.models.hedge import Hedge
from vsg_ppl.models.matching_pennies import MatchingPennies
from vsg_ppl.models.prisoners_dilemma import PrisonersDilemma
from vsg_ppl.models.random_game import RandomGame
from vsg_ppl.models.rock_paper_scissors import RockPaperScissors
from vsg_ppl.models.soccer import Soccer
from vsg_ppl.models.stag_hunt import StagHunt
from vsg_ppl.models.thermostat import Thermostat
from vsg_ppl.models.three_agents import ThreeAgents

#: Bundled games by the name of their file; each is a dataclass whose parameters have defaults.
GAMES: dict[str, type] = {
    "battle_of_the_sexes": BattleOfTheSexes,
    "chicken": Chicken,
    "congestion": Congestion,
    "grid": GridGame,
    "hedge": Hedge,
    "matching_pennies": MatchingPennies,
    "prisoners_dilemma": PrisonersDilemma,
    "random_game": RandomGame,
    "rock_paper_scissors": RockPaperScissors,
    "soccer": Soccer,
    "stag_hunt": StagHunt,
    "thermostat": Thermostat,
    "three_agents": ThreeAgents,
}

__all__ = [
    "GAMES",
    "ArrayGame",
    "BattleOfTheSexes",
    "Chicken",
    "Congestion",
    "GridGame",
    "Hedge",
    "MatchingPennies",
    "PrisonersDilemma",
    "RandomGame",
    "RockPaperScissors",
    "Soccer",
    "StagHunt",
    "Thermostat",
    "ThreeAgents",
    "matrix_game",
]
