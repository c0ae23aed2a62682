"""Run where MFGLib is: seconds of CPU for an iteration, or to an exploitability, as JSON.

python mfglib_peer.py iterate ENVIRONMENT ALGORITHM ITERATIONS
python mfglib_peer.py reach ENVIRONMENT ALGORITHM EXPLOITABILITY ITERATIONS
"""

import json
import sys
import time

import torch
from mfglib.alg import MFOMO, OnlineMirrorDescent, PriorDescent
from mfglib.env import Environment

torch.set_num_threads(1)
ALGORITHMS = {"omd": OnlineMirrorDescent, "pd": PriorDescent, "mfomo": MFOMO}
task, name, algorithm = sys.argv[1:4]
environment = getattr(Environment, name)()
solver = ALGORITHMS[algorithm]()
if task == "iterate":
    solver.solve(environment, max_iter=1, atol=None, rtol=None)
    count = int(sys.argv[4])
    start = time.process_time()
    solver.solve(environment, max_iter=count, atol=None, rtol=None)
    print(json.dumps({"seconds": (time.process_time() - start) / count}))
else:
    wanted, count = float(sys.argv[4]), int(sys.argv[5])
    start = time.process_time()
    _, found, _ = solver.solve(environment, max_iter=count, atol=wanted, rtol=0.0)
    seconds = time.process_time() - start
    print(json.dumps({"seconds": seconds, "exploitability": min(found), "steps": len(found)}))
