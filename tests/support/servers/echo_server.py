"""A small real server: a model that takes a while, in the shell. Run as a process: `python echo_server.py OPTIONS`."""

from __future__ import annotations

import asyncio
import json
import pickle
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))
OPTIONS = json.loads(sys.argv.pop(1)) if len(sys.argv) > 1 else {}


def _no_pickle(event: str, arguments: tuple[object, ...]) -> None:
    if event == "pickle.find_class":
        print("pickle was read", arguments, file=sys.stderr)
        raise RuntimeError("pickle was read")


if OPTIONS.get("forbid_pickle"):
    sys.addaudithook(_no_pickle)

import kserve  # noqa: E402
from kserve import InferOutput, InferRequest, InferResponse  # noqa: E402

from components.shared.errors import BadImageError  # noqa: E402
from serving.server.limits import GuardSettings  # noqa: E402
from serving.server.metrics import Identity, ServerMetrics  # noqa: E402
from serving.server.server import run_server  # noqa: E402
from serving.server.traces import start_traces  # noqa: E402


class Echo(kserve.Model):
    """Answers with the number of bytes or the tensors that came, after a while."""

    def __init__(self, traces) -> None:
        super().__init__("visual-search")
        self.ready = True
        self.traces = traces

    async def predict(self, payload, headers=None, response_headers=None):
        with self.traces.stage("work"):
            await asyncio.sleep(OPTIONS.get("work_seconds", 0.0))
        if isinstance(payload, InferRequest):
            outputs = [InferOutput("size", [1], "INT64", [len(payload.inputs)])]
            return InferResponse(response_id=payload.id or "0", model_name=self.name, infer_outputs=outputs)
        if isinstance(payload, bytes):
            return {"bytes": len(payload)}
        if "fail" in payload:
            raise RuntimeError("secret of /etc/passwd")
        if "pickle" in payload:
            return {"predictions": str(pickle.loads(pickle.dumps(Path)))}
        if "bad" in payload:
            raise BadImageError("The picture is cut off.", reason="truncated")
        return {"predictions": payload.get("instances")}


if __name__ == "__main__":
    traces = start_traces("echo", OPTIONS.get("collector"))
    sys.exit(
        run_server(
            Echo(traces),
            name="visual-search",
            host="127.0.0.1",
            http_port=OPTIONS.get("http_port", 0),
            grpc_port=OPTIONS.get("grpc_port", 0),
            guard=GuardSettings(**OPTIONS.get("guard", {})),
            lame_duck_seconds=OPTIONS.get("lame_duck_seconds", 0.0),
            grace_seconds=5,
            metrics=ServerMetrics(lambda: Identity("r-1", "s-1", 0, "champion")),
            traces=traces,
        )
    )
