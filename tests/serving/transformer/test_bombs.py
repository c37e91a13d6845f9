"""Bombs while people search (promise 10), through the real processes: bombs are refused, people are all answered."""

from __future__ import annotations

import struct
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import psutil
import pytest
from factories import encode_picture
from serving_processes import make_local_release, pictures_of, serving

from serving.client import RefusedError, SearchClient, SearchError


def png_bomb(side: int) -> bytes:
    """A PNG of side × side black pixels, in a few hundred kilobytes or less."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    row = b"\0" * (side + 1)
    packed = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def scan_bomb(side: int, scans: int) -> bytes:
    data = encode_picture(np.full((side, side, 3), 90, np.uint8), progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


def text_bomb() -> bytes:
    """A PNG with 100 MB of compressed text."""
    small = png_bomb(64)
    body = b"Comment\0\0" + zlib.compress(b"\0" * 100_000_000, 9)
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    return small[:33] + chunk + small[33:]


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    return make_local_release(tmp_path_factory.mktemp("release"), items=8, views=3)


def test_people_are_answered_while_bombs_come(release, tmp_path):
    bombs = [png_bomb(9_400), png_bomb(30_000), scan_bomb(1_500, 400), scan_bomb(600, 70), text_bomb()]
    good = list(pictures_of(release).values())
    refused: list[str] = []
    over = threading.Event()
    # Processor time is limited as ever; real time is not, since a busy machine's delays are nobody's fault.
    with serving(release, tmp_path, decode_wall_seconds="60") as processes:

        def attack() -> None:
            with SearchClient(processes.url, timeout_seconds=60) as client:
                turn = 0
                while not over.is_set():
                    turn += 1
                    try:
                        client.search(bombs[turn % len(bombs)], k=1)
                        refused.append("answered")
                    except RefusedError as error:
                        refused.append(error.reason)
                    except SearchError as error:
                        refused.append(f"{error.status}")
                    time.sleep(0.1)

        attacker = threading.Thread(target=attack)
        with SearchClient(processes.url, timeout_seconds=60) as client:
            client.search(good[0])
            before = [child.pid for child in psutil.Process(processes.children["transformer"].pid).children()]
            attacker.start()
            try:
                deadline = time.monotonic() + 150
                asked = 0
                while (len(refused) < 15 or asked < 100) and time.monotonic() < deadline:
                    assert client.search(good[asked % len(good)], k=3).results
                    asked += 1
            finally:
                over.set()
                attacker.join()
        after = [child.pid for child in psutil.Process(processes.children["transformer"].pid).children()]
    assert len(refused) >= 15
    assert set(refused) <= {"too_many_pixels", "side_too_long", "too_many_scans", "damaged", "answered"}
    assert refused.count("answered") <= len(refused) / len(bombs) + 1, "only the text bomb may hold a picture"
    assert before == after, "no process had to die of them"
