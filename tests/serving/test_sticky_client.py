"""The client at an ingress that tosses a coin for whoever brings no pin."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from serving.client import SearchClient
from serving.settings import TransformerSettings
from serving.transformer.app import _pin

HEADER = "X-Visual-Search-Arm"


class Ingress(BaseHTTPRequestHandler):
    """Sends every other request without a pin to the other arm."""

    protocol_version = "HTTP/1.1"
    count, pins = 0, True

    def _answer(self, body):
        arm = self.headers.get(HEADER)
        if arm is None:
            type(self).count += 1
            arm = ("champion", "challenger")[self.count % 2]
        pin = {HEADER: arm} if self.pins else {}
        data = json.dumps(body(arm, pin)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        self._answer(lambda arm, pin: {"release_id": f"r-{arm}", "arm": arm, "pin": pin})

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        facts = {
            "query_id": "q",
            "space_id": "s",
            "generation": 0,
            "query_image_id": None,
            "no_good_match": False,
            "results": [],
        }
        self._answer(lambda arm, pin: {"predictions": [{**facts, "release_id": f"r-{arm}", "arm": arm}]})

    def log_message(self, *_):
        pass


@pytest.fixture(params=[True, False], ids=["pins", "no pins"])
def ingress(request):
    handler = type("Handler", (Ingress,), {"pins": request.param, "count": 0})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", request.param
    server.shutdown()
    thread.join()
    server.server_close()


def arms(client):
    return {client.search(b"\xff\xd8\xff", k=1).arm for _ in range(6)} | {client.similar("i").arm for _ in range(2)}


def test_a_client_stays_in_its_first_arm_where_the_service_names_a_pin(ingress):
    url, pins = ingress
    seen = set()
    for _ in range(4):
        with SearchClient(url) as client:
            found = arms(client)
            assert len(found) == (1 if pins else 2)
            seen |= found
    assert seen == {"champion", "challenger"}


def test_a_client_that_does_not_want_to_does_not_stay(ingress):
    with SearchClient(ingress[0], sticky=False) as client:
        assert len(arms(client)) == 2


def test_the_pin_is_a_setting_of_the_transformer():
    assert _pin(TransformerSettings(pin_header=HEADER, pin_value="challenger")) == {HEADER: "challenger"}
    assert _pin(TransformerSettings(pin_header=HEADER)) == {}
