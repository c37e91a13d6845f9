"""Stopping: first not ready, then no more connections, then what is in flight, then the end (promise 14)."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import signal
import threading
import time

import pytest

from support.servers.echo_process import JSON, PREDICT, EchoProcess, eventually


def test_a_stopping_server_says_not_ready_and_still_answers() -> None:
    with EchoProcess(lame_duck_seconds=5.0, work_seconds=0.1) as echo:
        echo.process.send_signal(signal.SIGTERM)
        assert eventually(lambda: echo.ask("GET", "/v2/health/ready")[0] == 503)
        assert echo.ask("GET", "/v2/health/live")[0] == 200
        status, headers, _ = echo.ask("POST", PREDICT, b"{}", JSON)
        assert (status, headers["connection"]) == (200, "close")
        assert echo.process.wait(20) == 0


def test_what_is_in_flight_is_finished_and_the_exit_code_is_zero() -> None:
    with EchoProcess(work_seconds=3.0) as echo:
        answers: list[int] = []
        client = threading.Thread(target=lambda: answers.append(echo.ask("POST", PREDICT, b"{}", JSON)[0]))
        client.start()
        assert eventually(
            lambda: b'in_flight{arm="champion",queue="search",release_id="r-1"} 1.0' in echo.ask("GET", "/metrics")[2]
        )
        code, _ = echo.stop()
        client.join()
        assert (code, answers) == (0, [200])


def test_a_second_signal_stops_at_once() -> None:
    with EchoProcess(lame_duck_seconds=60.0) as echo:
        echo.process.send_signal(signal.SIGTERM)
        assert eventually(lambda: echo.ask("GET", "/v2/health/ready")[0] == 503)
        echo.process.send_signal(signal.SIGTERM)
        assert echo.process.wait(20) == 1


class Balancer:
    """Sends each request to a replica that was ready when it last looked, as an endpoint list does."""

    def __init__(self) -> None:
        self.replicas: list[EchoProcess] = []
        self.ready: list[EchoProcess] = []
        self.stopped = threading.Event()
        self.answered, self.failures = 0, []  # type: ignore[var-annotated]
        self.watcher = threading.Thread(target=self.watch)
        self.lock = threading.Lock()

    def watch(self) -> None:
        while not self.stopped.is_set():
            ready = []
            for each in list(self.replicas):
                with contextlib.suppress(OSError, http.client.HTTPException):
                    if each.ask("GET", "/v2/health/ready")[0] == 200:
                        ready.append(each)
            self.ready = ready
            self.stopped.wait(0.1)

    def client(self, number: int) -> None:
        connections: dict[int, http.client.HTTPConnection] = {}
        for turn in itertools.count(number):
            if self.stopped.is_set():
                break
            ready = self.ready
            if not ready:
                self.failures.append("no replica is ready")
                time.sleep(0.05)
                continue
            port = ready[turn % len(ready)].http
            connection = connections.setdefault(port, http.client.HTTPConnection("127.0.0.1", port, timeout=20))
            try:
                connection.request("POST", PREDICT, b"{}", JSON)
                response = connection.getresponse()
                response.read()
                outcome = None if response.status == 200 else response.status
            except (OSError, http.client.HTTPException) as error:
                outcome = repr(error)  # type: ignore[assignment]
                connection.close()
            with self.lock:
                self.answered += outcome is None
                if outcome is not None:
                    self.failures.append(outcome)
            time.sleep(0.01)
        for each in connections.values():
            each.close()


def _roll(restarts: int, at_least: int) -> None:
    balancer = Balancer()
    options = {"lame_duck_seconds": 3.0, "work_seconds": 0.02}
    balancer.replicas = [EchoProcess(**options), EchoProcess(**options)]
    balancer.watcher.start()
    assert eventually(lambda: len(balancer.ready) == 2)
    clients = [threading.Thread(target=balancer.client, args=(number,)) for number in range(4)]
    for each in clients:
        each.start()
    try:
        for restart in range(restarts):
            with balancer.replicas[restart % 2] as old:
                assert old.stop()[0] == 0
            balancer.replicas[restart % 2] = EchoProcess(**options)
            assert eventually(lambda: len(balancer.ready) == 2)
        assert eventually(lambda: balancer.answered >= at_least, 120)
    finally:
        balancer.stopped.set()
        for each in (*clients, balancer.watcher):
            each.join()
        for each in balancer.replicas:
            each.__exit__()
    print(f"{restarts} restarts, {balancer.answered} answered, {len(balancer.failures)} failed")
    assert balancer.failures == []


def test_a_rollout_loses_no_request() -> None:
    _roll(restarts=2, at_least=200)


@pytest.mark.long
def test_a_rollout_loses_no_request_long() -> None:
    _roll(restarts=20, at_least=5000)
