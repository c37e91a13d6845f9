"""Runs commands of `visual-search rollout` in processes that can be killed: imports once, then forks for each.

Reads one JSON list of words a line from standard input; answers "started PID", and when it has ended "ended STATUS" (of waitpid).
"""

from __future__ import annotations

import json
import os
import sys

from mlflow import MlflowClient  # noqa: F401 - everything that a command would import, so that a kill meets its work

import components.registration.registry
import pipelines.commands.rollout
from pipelines.__main__ import main

if __name__ == "__main__":
    model = sys.argv[1]
    real = components.registration.registry.Registry
    pipelines.commands.rollout._registry = lambda settings: real(settings.registry_uri, model)
    print("ready", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            code = 1
            try:
                code = main(json.loads(line))
            finally:
                os._exit(code)
        print(f"started {child}", flush=True)
        print(f"ended {os.waitpid(child, 0)[1]}", flush=True)
