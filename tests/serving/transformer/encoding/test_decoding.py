"""The pool of expendable decoders: every picture gets an answer, good ones at once, whatever bad ones do."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import psutil
import pytest

from components.shared.errors import BadImageError, ImageTooLargeError, SourceError
from components.shared.pictures.decoder import decode_image, decode_picture, decoding_side
from components.shared.pictures.limits import DecodingLimits
from components.shared.pictures.preprocessing import PreprocessingSpec, preprocess
from serving.server.refusals import OverloadedError
from serving.transformer.encoding.decoding import DecodingPool
from support.factories.basics import encode_picture, make_picture

SPEC = PreprocessingSpec()
LIMITS = DecodingLimits(max_bytes=10 << 20, max_pixels=40_000_000)
LAX = DecodingLimits(max_scans=10_000, max_scanned_pixels=10**12)


@asynccontextmanager
async def pool(*, workers=1, queue=16, limits=LIMITS, **more) -> AsyncIterator[DecodingPool]:
    made = DecodingPool(workers=workers, queue=queue, limits=limits, **more)
    try:
        await made.start()
        yield made
    finally:
        await made.stop()


def processes() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "decoder_process" in " ".join(child.cmdline())]


def scan_bomb(side: int = 3_000, scans: int = 3_000) -> bytes:
    data = encode_picture(np.full((side, side, 3), 90, np.uint8), progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


def test_square_is_that_of_the_one_decoder_and_facts_are_the_files():
    async def run() -> None:
        async with pool() as decoders:
            for size, kind in (((1200, 900), "JPEG"), ((96, 80), "PNG"), ((640, 480), "WEBP")):
                data = encode_picture(make_picture(3, size=size), kind)
                found = await decoders.prepare(data, SPEC)
                expected = preprocess(decode_image(data, minimum_side=decoding_side(SPEC)), SPEC)
                np.testing.assert_array_equal(found.square, expected)
                assert found.sha256 == hashlib.sha256(data).hexdigest()
                assert (found.facts["width"], found.facts["height"]) == size
                assert (found.facts["format"], found.facts["bytes"]) == (kind.lower(), len(data))
                assert 0 < found.facts["brightness"] < 1

    asyncio.run(run())


def test_crop_is_of_the_upright_picture_and_keeps_its_resolution():
    pixels = make_picture(5, size=(1600, 1200))
    data = encode_picture(pixels, "JPEG", quality=95)

    async def run() -> None:
        async with pool() as decoders:
            part = await decoders.prepare(data, SPEC, (0.25, 0.5, 0.25, 0.25))
            full = decode_picture(data).pixels
            expected = preprocess(full[600:900, 400:800], SPEC)
            assert np.abs(part.square.astype(int) - expected).mean() < 2
            whole = await decoders.prepare(data, SPEC, (0.0, 0.0, 1.0, 1.0))
            np.testing.assert_array_equal(whole.square, (await decoders.prepare(data, SPEC)).square)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"hello", "not_an_image"),
        (b"<svg onload=alert(1)>", "unsupported_format"),
        (encode_picture(make_picture(1))[:-400], "truncated"),
        (encode_picture(np.zeros((4, 4, 3), np.uint8), "PNG"), "too_small"),
    ],
)
def test_bad_pictures_have_their_reason(data, reason):
    async def run() -> None:
        async with pool() as decoders:
            with pytest.raises(BadImageError) as refused:
                await decoders.prepare(data, SPEC)
            assert refused.value.reason == reason
            assert decoders.counts.crashed == decoders.counts.timed_out == 0

    asyncio.run(run())


def test_limits_are_those_of_serving():
    async def run() -> None:
        async with pool(limits=DecodingLimits(max_pixels=10_000)) as decoders:
            with pytest.raises(ImageTooLargeError) as refused:
                await decoders.prepare(encode_picture(np.zeros((200, 200, 3), np.uint8), "PNG"), SPEC)
            assert refused.value.reason == "too_many_pixels"

    asyncio.run(run())


def test_a_picture_that_takes_too_long_is_ended_and_the_next_is_served_at_once():
    good, bomb = encode_picture(make_picture(1)), scan_bomb()

    async def run() -> None:
        async with pool(limits=LAX, cpu_seconds=0.3, wall_seconds=30) as decoders:
            await decoders.prepare(good, SPEC)
            with pytest.raises(BadImageError) as refused:
                await decoders.prepare(bomb, SPEC)
            assert refused.value.reason == "timed_out"
            started = decoders.counts.started
            await decoders.prepare(good, SPEC)
            assert decoders.counts.started == started == 2, "the spare process serves, none had to be started first"
            while decoders.counts.started < 3:  # … and is replaced
                await asyncio.sleep(0.02)
            assert len(processes()) == 2

    asyncio.run(asyncio.wait_for(run(), 60))
    assert not processes()


def test_a_process_that_waits_for_ever_is_ended_too(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")

    async def run() -> None:
        async with pool(wall_seconds=0.3) as decoders:
            with pytest.raises(OverloadedError):
                await decoders.thumbnail(str(tmp_path / "pipe.jpg"), 128)
            while True:  # the next is served, unless the machine is so busy that its time is over too
                with contextlib.suppress(OverloadedError):
                    await decoders.prepare(encode_picture(make_picture(1)), SPEC)
                    break

    asyncio.run(asyncio.wait_for(run(), 60))


@pytest.mark.parametrize(("signal_sent", "error"), [(signal.SIGSEGV, BadImageError), (signal.SIGKILL, OverloadedError)])
def test_a_crash_is_the_pictures_fault_and_a_kill_is_not(signal_sent, error):
    async def run() -> None:
        async with pool(limits=LAX, cpu_seconds=30, wall_seconds=30) as decoders:
            idle = {child.pid: child.cpu_times().user for child in processes()}
            job = asyncio.ensure_future(decoders.prepare(scan_bomb(), SPEC))
            busy = None
            while busy is None:
                await asyncio.sleep(0.05)
                busy = next((child for child in processes() if child.cpu_times().user > idle[child.pid] + 0.3), None)
            os.kill(busy.pid, signal_sent)
            with pytest.raises(error):
                await job
            await decoders.prepare(encode_picture(make_picture(1)), SPEC)

    asyncio.run(asyncio.wait_for(run(), 60))


def test_the_queue_is_bounded_and_a_cancelled_job_costs_no_process():
    good, slow = encode_picture(make_picture(1)), scan_bomb()

    async def run() -> None:
        async with pool(queue=2, limits=LAX, cpu_seconds=0.5, wall_seconds=30) as decoders:
            first = asyncio.ensure_future(decoders.prepare(slow, SPEC))
            await asyncio.sleep(0.05)
            waiting = [asyncio.ensure_future(decoders.prepare(good, SPEC)) for _ in range(2)]
            await asyncio.sleep(0)
            with pytest.raises(OverloadedError):
                await decoders.prepare(good, SPEC)
            assert decoders.counts.refused == 1
            first.cancel()
            await asyncio.gather(*waiting)
            assert decoders.counts.timed_out == 1
            assert decoders.waiting == 0

    asyncio.run(asyncio.wait_for(run(), 60))


def test_thumbnails_fit_are_upright_and_carry_nothing_of_the_file(tmp_path):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "SECRET-DESCRIPTION"
    path = tmp_path / "a.jpg"
    Image.fromarray(make_picture(2, size=(640, 480))).save(path, "JPEG", exif=exif)

    async def run() -> None:
        async with pool() as decoders:
            made = await decoders.thumbnail(str(path), 128)
            assert b"SECRET" not in made
            picture = decode_picture(made)
            assert (picture.format, picture.width, picture.height) == ("webp", 96, 128)
            with pytest.raises(SourceError):
                await decoders.thumbnail(str(tmp_path / "gone.jpg"), 128)

    asyncio.run(run())


def test_memory_is_limited():
    """A picture within all other limits that needs more than there may be is refused, and the process lives."""
    data = encode_picture(np.zeros((6000, 6000, 3), np.uint8), "PNG")

    async def run() -> None:
        async with pool(memory_bytes=450 << 20, cpu_seconds=20, wall_seconds=60) as decoders:
            with pytest.raises(BadImageError) as refused:
                await decoders.prepare(data, SPEC)
            assert refused.value.reason == "out_of_memory"
            await decoders.prepare(encode_picture(make_picture(1)), SPEC)
            assert decoders.counts.started == 2

    asyncio.run(run())


def test_processes_die_with_a_parent_that_is_killed(tmp_path):
    """Also one that is stuck in the kernel, which no closed connection would end."""
    os.mkfifo(tmp_path / "pipe.jpg")
    code = (
        "import asyncio, sys\n"
        "from components.shared.pictures.limits import DecodingLimits\n"
        "from serving.transformer.encoding.decoding import DecodingPool\n"
        "async def run():\n"
        "    pool = DecodingPool(workers=2, queue=1, limits=DecodingLimits(), wall_seconds=100)\n"
        "    await pool.start()\n"
        "    stuck = asyncio.ensure_future(pool.thumbnail(sys.argv[1], 64))\n"
        "    await asyncio.sleep(0.5)\n"
        "    print('ready', flush=True)\n"
        "    await stuck\n"
        "asyncio.run(run())\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "pipe.jpg")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout.readline() == b"ready\n"
        children = psutil.Process(parent.pid).children()
        assert len(children) == 3
        parent.kill()
        _, alive = psutil.wait_procs(children, timeout=20)
        for child in alive:
            child.kill()
        assert not alive


def test_good_pictures_pass_while_bombs_come():
    """Promise 10 in short: bombs at a steady rate; good traffic beside them is all answered, bombs refused cheaply."""
    bombs = [
        encode_picture(np.zeros((9400, 9400, 3), np.uint8), "PNG", compress_level=9),
        scan_bomb(1500, 300),
        b"RIFF\x00\x00\x00\x00WEBPVP8L\x00",
    ]
    good = encode_picture(make_picture(1, size=(640, 480)))

    async def run() -> None:
        async with pool(workers=2, queue=64, wall_seconds=60) as decoders:
            await asyncio.gather(*(decoders.prepare(good, SPEC) for _ in range(4)))

            async def attack() -> None:
                for turn in range(12):
                    with pytest.raises(BadImageError):
                        await decoders.prepare(bombs[turn % 3], SPEC)

            answers, _ = await asyncio.gather(
                asyncio.gather(*(decoders.prepare(good, SPEC) for _ in range(40))), attack()
            )
            assert len(answers) == 40
            assert decoders.counts.crashed == decoders.counts.timed_out == 0, "headers alone were enough"
            assert decoders.counts.started == 3

    asyncio.run(asyncio.wait_for(run(), 60))


def mutants(count: int, seed: int) -> list[bytes]:
    """Damaged pictures: bits turned, pieces cut, doubled, overwritten."""
    rng = np.random.default_rng(seed)
    picture = make_picture(1, size=(160, 120))
    seeds = [
        encode_picture(picture, "JPEG", quality=85),
        encode_picture(picture, "JPEG", progressive=True),
        encode_picture(picture, "PNG"),
        encode_picture(picture, "WEBP"),
        encode_picture(picture, "WEBP", lossless=True),
    ]
    found = []
    for number in range(count):
        data = bytearray(seeds[number % len(seeds)])
        for _ in range(int(rng.integers(1, 6))):
            at, length = int(rng.integers(len(data))), int(rng.integers(1, 40))
            match int(rng.integers(4)):
                case 0:
                    data[at] ^= 1 << int(rng.integers(8))
                case 1:
                    del data[at : at + length]
                case 2:
                    data[at:at] = data[at : at + length]
                case _:
                    data[at : at + length] = rng.integers(0, 256, length).astype(np.uint8).tobytes()
            data = data or bytearray(b"x")
        found.append(bytes(data))
    return found


def survive(count: int, seed: int) -> None:
    async def run() -> None:
        async with pool(workers=2, queue=64, wall_seconds=60) as decoders:
            decoded = 0
            for start in range(0, count, 32):
                some = mutants(min(32, count - start), seed + start)
                for outcome in await asyncio.gather(
                    *(decoders.prepare(each, SPEC) for each in some), return_exceptions=True
                ):
                    if isinstance(outcome, BaseException):
                        assert isinstance(outcome, BadImageError), outcome
                        assert outcome.reason not in {"crashed", "timed_out", "out_of_memory"}
                    else:
                        decoded += 1
            assert decoded > count / 20
            assert decoders.counts.crashed == decoders.counts.timed_out == 0
            assert all(process.memory_info().rss < 300e6 for process in processes())

    asyncio.run(run())


def test_damaged_pictures_have_an_answer_and_kill_nobody():
    """Promise 9 in short."""
    survive(640, seed=1)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_very_many_damaged_pictures_have_an_answer_and_kill_nobody():
    survive(20_000, seed=2)
