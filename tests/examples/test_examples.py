"""Every example runs to its end and does what it says."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType

import httpx
import pytest

import components
from components.shared.release.manifest import open_catalogue
from components.shared.vectors.encoder import read_encoder_spec
from serving.events.database import Database
from serving.transformer.search.catalogue import Catalogue
from serving.transformer.search.results import SearchOptions
from support.factories.basics import make_folder
from support.factories.release_factory import make_release
from support.servers.serving_processes import make_local_release, serving

ROOT = Path(components.__file__).parents[1]
EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("pictures"), items=24, views=3)


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_in_the_table_and_tested_here() -> None:
    listed = set(re.findall(r"^\| \[(\S+)\]", (EXAMPLES / "README.md").read_text(), re.M))
    assert listed == {path.name for path in EXAMPLES.iterdir() if path.suffix in {".py", ".ipynb"}}
    assert all(Path(name).stem in Path(__file__).read_text() for name in listed)


def test_first_search(pictures: Path, tmp_path: Path) -> None:
    """The notebook, cell by cell in one process, as Jupyter would run it."""
    notebook = json.loads((EXAMPLES / "first_search.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(cells) == 10
    assert [cell.split(".")[0] for cell in cells] == [f"# {number}" for number in range(1, 11)]
    assert not any(cell.get("outputs") for cell in notebook["cells"])
    script = "\n".join(cells) + "\nassert ranked[0][0]['uri'] == str(query), ranked\nprint('ranked', len(ranked))"
    settings = {"PICTURES": str(pictures), "WORK": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={**os.environ, **settings}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "ranked 10" in done.stdout
    assert (tmp_path / "ranked.html").read_text().count("<figure>") == 10


def test_own_encoder(pictures: Path, tmp_path: Path) -> None:
    nearest = example("own_encoder").main(pictures, tmp_path)
    assert nearest[0].endswith("000-0.jpg")
    assert {name.rpartition("-")[0] for name in nearest[:3]} == {"cups/000"}  # the other views of the same thing
    assert read_encoder_spec(tmp_path / "encoder").dimension == 49


def test_own_rule(tmp_path: Path) -> None:
    release = make_release(tmp_path, items=12, views=2)
    answer = example("own_rule").main(release)
    categories = [result.category for result in answer.results]
    assert max(categories.count(each) for each in categories) == 2
    assert [report.rule for report in answer.explain][-1] == "variety"
    plain = Catalogue(open_catalogue(release))
    vector = plain.vector_of(plain.samples(1, seed=0)[0].image_id)
    without = [result.category for result in plain.search(vector, SearchOptions(k=10)).results]
    assert max(without.count(each) for each in without) > 2  # so the rule had something to do


def test_web_shop(tmp_path: Path) -> None:
    release = make_local_release(tmp_path / "release", items=8, views=2)
    with serving(release, tmp_path / "service") as processes:
        shop = example("web_shop").Shop(processes.url)
        threading.Thread(target=shop.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{shop.server_address[1]}"
        with httpx.Client(base_url=address, timeout=30, follow_redirects=True) as browser:
            front = browser.get("/").text
            product = re.search(r'href="(/product/[^"]+)"', front)[1]
            page = browser.get(product).text
            links = re.findall(r'href="(/go\?to=[^"]+)"', page)
            assert links
            picture = browser.get(re.search(r'src="(/picture/[^"]+)"', page)[1])
            assert picture.content[:4] == b"RIFF"
            clicked = browser.get(links[0])
            assert clicked.status_code == 200
            assert str(clicked.url).startswith(f"{address}/product/")
        shop.shutdown()
        shop.server_close()
    store = Database(f"sqlite:///{tmp_path / 'service' / 'events.db'}", read_only=True)
    numbers = {kind: number for _, _, kind, number, _, _ in store.counts()}
    store.close()
    assert numbers["click"] == 1
    assert numbers["impression"] >= len(links)
