"""Questions on standard input, answers on standard output: one JSON object a line.

A side is an object with the fields that ``hello`` sends and two methods,
``values(case, x, double) -> matrix`` and ``prepare(case, x, part, parts) -> run``, where ``run()``
computes that part of the Gram matrix of ``x`` once. These scripts run in the environment of the
program they stand for, under its Python.
"""

import json
import os
import sys
import time

import numpy as np


def serve(make_side):
    """Answer until standard input ends; ``make_side`` imports the program and returns its side."""
    # Whatever the program prints goes to standard error; only answers go to standard output.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    try:
        side = make_side()
    except ImportError as error:
        print(json.dumps({"missing": str(error)}), file=answers)
        return
    print(json.dumps({"versions": side.versions}), file=answers)
    run = None
    for line in sys.stdin:
        question = json.loads(line)
        answer = {}
        if question["ask"] == "values":
            found = side.values(question["case"], np.load(question["items"]), question["double"])
            np.save(question["out"], np.asarray(found, dtype=np.float64))
        elif question["ask"] == "prepare":
            x = np.load(question["items"])
            run = side.prepare(question["case"], x, question["part"], question["parts"])
            run()
        else:
            began = time.perf_counter()
            run()
            answer["seconds"] = time.perf_counter() - began
        print(json.dumps(answer), file=answers)
