"""The client of the encoder against a real server that misbehaves: typed errors in time, never a wrong vector."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import asynccontextmanager

import numpy as np
import pytest

from serving.server.refusals import EncoderFailedError, EncoderTimeoutError, OverloadedError
from serving.transformer.encoding.breaker import CircuitBreaker
from serving.transformer.encoding.encoder_client import EncoderClient, EncoderUnavailableError, ForeignSpaceError
from support.servers.misbehaving_encoder import DrippingServer, MisbehavingEncoder

SPACE, DIMENSION = "s-1234567890abcdef", 16
SQUARES = np.zeros((2, 224, 224, 3), np.uint8)


@asynccontextmanager
async def client(address: str, **options):
    made = EncoderClient(address, **{"timeout_seconds": 10.0, **options})
    made.start()
    try:
        yield made
    finally:
        await made.stop()


async def ask(encoder: EncoderClient, squares=SQUARES, space_id=SPACE, **more):
    return await encoder.encode(squares, space_id=space_id, dimension=DIMENSION, **more)


def test_vectors_come_in_order_and_unharmed():
    rng = np.random.default_rng(0)
    projection = rng.normal(size=(3, DIMENSION))

    def embed(images):
        values = images.astype(float).mean(axis=(1, 2)) @ projection + 1
        return values / np.linalg.norm(values, axis=1, keepdims=True)

    squares = rng.integers(0, 256, (3, 224, 224, 3)).astype(np.uint8)

    async def run() -> None:
        with MisbehavingEncoder(space_id=SPACE, dimension=DIMENSION, embed=embed) as server:
            async with client(server.address) as encoder:
                found = await ask(encoder, squares)
                np.testing.assert_allclose(found, embed(squares), atol=1e-6)
                assert found.dtype == np.float32

    asyncio.run(run())


BAD = {
    "error": EncoderFailedError,
    "nan": EncoderFailedError,
    "zero": EncoderFailedError,
    "norm": EncoderFailedError,
    "dimension": EncoderFailedError,
    "count": EncoderFailedError,
    "short": EncoderFailedError,
    "huge": EncoderFailedError,
    "int": EncoderFailedError,
    "empty": ForeignSpaceError,
    "nameless": ForeignSpaceError,
    "space": ForeignSpaceError,
    "precondition": ForeignSpaceError,
    "overloaded": OverloadedError,
}


def test_every_fault_has_its_error_and_none_its_vectors():
    async def run() -> None:
        breaker = CircuitBreaker(failures=1_000)
        with MisbehavingEncoder(space_id=SPACE, dimension=DIMENSION) as server:
            async with client(server.address, breaker=breaker) as encoder:
                for mode, error in BAD.items():
                    server.mode = mode
                    calls = server.calls
                    with pytest.raises(error) as raised:
                        await ask(encoder)
                    assert type(raised.value) is error, mode
                    assert "secret" not in str(raised.value)
                    assert server.calls == calls + 1, f"{mode} must not be retried"
                    server.mode = "well"
                    assert (await ask(encoder)).shape == (2, DIMENSION)

    asyncio.run(run())


def test_no_answer_in_time_is_a_timeout_whatever_the_reason():
    async def run() -> None:
        with MisbehavingEncoder(space_id=SPACE, dimension=DIMENSION) as server, DrippingServer() as drip:
            async with client(server.address, timeout_seconds=0.2) as encoder:
                server.mode = "hang"
                with pytest.raises(EncoderTimeoutError):
                    await ask(encoder)
                server.mode = "slow"
                with pytest.raises(EncoderTimeoutError):
                    await ask(encoder, remaining_seconds=0.1)
                with pytest.raises(EncoderTimeoutError):
                    await ask(encoder, remaining_seconds=-1.0)
            async with client(f"127.0.0.1:{drip.port}", timeout_seconds=0.5) as encoder:
                started = time.monotonic()
                with pytest.raises((EncoderTimeoutError, EncoderUnavailableError)):
                    await ask(encoder)
                assert time.monotonic() - started < 20

    asyncio.run(run())


def test_an_encoder_that_is_not_there_and_comes_back():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    async def run() -> None:
        async with client(f"127.0.0.1:{port}", timeout_seconds=2.0) as encoder:
            with pytest.raises(EncoderUnavailableError):
                await ask(encoder)
            with MisbehavingEncoder(space_id=SPACE, dimension=DIMENSION, port=port):
                deadline = time.monotonic() + 20
                while True:
                    try:
                        assert len(await ask(encoder)) == 2
                        break
                    except (EncoderUnavailableError, EncoderTimeoutError):
                        assert time.monotonic() < deadline
                        await asyncio.sleep(0.1)

    asyncio.run(run())


def test_servers_that_cannot_name_their_space_are_trusted_only_where_that_is_said():
    async def run() -> None:
        with MisbehavingEncoder(space_id=SPACE, dimension=DIMENSION) as server:
            async with client(server.address, space="trusted") as encoder:
                server.mode = "nameless"
                assert len(await ask(encoder)) == 2
                server.mode = "space"
                with pytest.raises(ForeignSpaceError) as raised:
                    await ask(encoder)
                assert (raised.value.expected, raised.value.received) == (SPACE, "s-0000000000000000")

    asyncio.run(run())


def test_the_breaker_opens_gives_a_rest_and_tries_once():
    async def run() -> None:
        now = [0.0]
        breaker = CircuitBreaker(failures=3, rest_seconds=1.0, clock=lambda: now[0])
        with MisbehavingEncoder(space_id=SPACE, dimension=DIMENSION) as server:
            async with client(server.address, breaker=breaker) as encoder:
                server.mode = "error"
                for _ in range(3):
                    with pytest.raises(EncoderFailedError):
                        await ask(encoder)
                assert (breaker.state, server.calls) == ("open", 3)
                with pytest.raises(EncoderUnavailableError):
                    await ask(encoder)
                assert server.calls == 3, "nobody asks an encoder at rest"
                now[0] = 1.0
                outcomes = await asyncio.gather(*(ask(encoder) for _ in range(5)), return_exceptions=True)
                assert server.calls == 4, "one tries, the others are told at once"
                assert sum(isinstance(outcome, EncoderUnavailableError) for outcome in outcomes) == 4
                assert breaker.state == "open"
                now[0], server.mode = 2.0, "well"
                await ask(encoder)
                assert breaker.state == "closed"

    asyncio.run(run())


def test_being_cancelled_is_no_failure_of_the_encoder():
    async def run() -> None:
        breaker = CircuitBreaker(failures=1)
        with MisbehavingEncoder(space_id=SPACE, dimension=DIMENSION) as server:
            async with client(server.address, breaker=breaker) as encoder:
                server.mode = "hang"
                task = asyncio.ensure_future(ask(encoder))
                while not server.calls:
                    await asyncio.sleep(0.01)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                assert breaker.state == "closed"

    asyncio.run(run())


def test_serves_asks_for_the_very_space():
    with MisbehavingEncoder(space_id=SPACE, dimension=DIMENSION) as server:
        encoder = EncoderClient(server.address)
        assert encoder.serves(SPACE, 224)
        assert not encoder.serves("s-ffffffffffffffff", 224)
        server.mode = "error"
        assert not encoder.serves(SPACE, 224)
