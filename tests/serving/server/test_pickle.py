"""No pickle is read in a server (promise 20): an audit hook watches the whole life of one."""

from __future__ import annotations

from support.servers.echo_process import JSON, PREDICT, EchoProcess


def test_a_server_reads_no_pickle() -> None:
    with EchoProcess(forbid_pickle=True) as echo:
        assert echo.ask("POST", PREDICT, b'{"instances":[1]}', JSON)[0] == 200
        hostile = b"cposix\nsystem\n(S'true'\ntR."
        for kind in ("application/octet-stream", "application/python-pickle", "application/json"):
            assert echo.ask("POST", PREDICT, hostile, {"content-type": kind})[0] in {200, 400, 415}
        code, errors = echo.stop()
    assert code == 0
    assert "pickle was read" not in errors


def test_the_hook_would_tell() -> None:
    with EchoProcess(forbid_pickle=True) as echo:
        echo.ask("POST", PREDICT, b'{"pickle":1}', JSON)
        assert "pickle was read" in echo.stop()[1]
