"""Run where sgamesolver is: a game in, an equilibrium and the seconds of CPU it took out."""

import sys
import time

import numpy as np
import sgamesolver

given = np.load(sys.argv[1])
rewards, transitions = given["rewards"], given["transitions"]
game = sgamesolver.SGame(list(rewards.swapaxes(0, 1)), list(transitions), float(given["discount"]))
start = time.process_time()
homotopy = sgamesolver.homotopy.QRE(game)
homotopy.solver_setup()
homotopy.solver.verbose = 0
homotopy.solver.start()
seconds = time.process_time() - start
np.savez(sys.argv[2], policies=homotopy.equilibrium.strategies, seconds=seconds)
