"""A straightforward search service: one FastAPI endpoint with Pillow, torch eager and Faiss.

python plain_server.py FOLDER PORT
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import faiss
import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, Request
from network import load_network
from reference import Simple


def main(folder: Path, port: int) -> None:
    """Serve until killed."""
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    simple = Simple(load_network(folder), np.load(folder / "vectors.npy"))
    app = FastAPI()

    @app.post("/search")
    async def search(request: Request) -> dict[str, object]:
        picture = await request.body()
        scores, rows = await asyncio.to_thread(simple.search, picture)
        found = zip(rows[0].tolist(), scores[0].tolist(), strict=True)
        return {"results": [{"image_id": f"image-{row:08d}", "score": score} for row, score in found]}

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
