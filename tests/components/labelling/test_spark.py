"""The same mining on Spark: skipped where Java or pyspark is missing. In a process of its own, as Spark stays in one."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.labelling.engine import open_engine
from components.labelling.parameters import LabellingParameters
from components.shared.errors import ResourceError
from components.shared.files.tables import JUDGEMENTS, write_table
from components.shared.truth.labels import read_labels_spec

Rows = list[dict[str, Any]]

HAS_SPARK = importlib.util.find_spec("pyspark") is not None and shutil.which("java") is not None

LABEL = """
import sys
from pathlib import Path
from components.labelling.parameters import LabellingParameters
from components.labelling.step import run
shop, out, engine = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
run(catalogue=shop / "catalogue", judgements="", events=str(shop / "events.parquet"), truth=str(shop / "truth"),
    destination=out / engine, workspace=out / "workspace",
    parameters=LabellingParameters(engine=engine, spark_master="local[1]", memory_gigabytes=1))
"""


@pytest.mark.timeout(900)  # starting Spark and planning some hundred small stages takes its time on a busy machine
@pytest.mark.skipif(not HAS_SPARK, reason="Spark needs Java and pyspark (pip install visual-search[spark])")
def test_duckdb_and_spark_write_the_same_bytes(
    tmp_path: Path, random_log: Callable[..., Rows], write_log: Callable[..., Path], make_images: Callable[..., None]
) -> None:
    item = np.arange(8) // 4
    make_images(tmp_path / "catalogue", [f"i{number}" for number in range(8)], item, item)
    write_log(tmp_path / "events.parquet", random_log(3, searches=250))
    truth = tmp_path / "truth"
    write_table(truth / "truth_relevance.parquet", JUDGEMENTS.schema.empty_table(), JUDGEMENTS)
    (truth / "truth.json").write_text(json.dumps({"propensities": [1, 0.5, 0.3, 0.25, 0.2], "bots": ["u0"]}))
    for engine in ("duckdb", "spark"):
        command = [sys.executable, "-c", LABEL, str(tmp_path), str(tmp_path), engine]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[3])}
        result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert result.returncode == 0, result.stderr[-3000:]
    for name in ("pairs.parquet", "labels.json", "judgements.parquet"):
        assert (tmp_path / "spark" / name).read_bytes() == (tmp_path / "duckdb" / name).read_bytes(), name
    clicks = read_labels_spec(tmp_path / "spark").clicks
    assert clicks is not None
    assert clicks["mined"]["pairs"] > 0
    assert all(clicks["dropped"][name] for name in ("repeated", "without_impression", "bot_clicks", "self_clicks"))


def test_spark_without_java_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyspark")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ResourceError, match="no Java"), open_engine(LabellingParameters(engine="spark"), tmp_path):
        pass
