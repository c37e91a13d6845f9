"""The same mining on Spark: skipped where Java or pyspark is missing. In a process of its own, as Spark stays in one."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from components.labelling.engine import open_engine
from components.labelling.parameters import LabellingParameters
from components.shared.errors import ResourceError

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


@pytest.mark.skipif(not HAS_SPARK, reason="Spark needs Java and pyspark (pip install visual-search[spark])")
def test_duckdb_and_spark_write_the_same_bytes(shop: Path, tmp_path: Path) -> None:
    for engine in ("duckdb", "spark"):
        command = [sys.executable, "-c", LABEL, str(shop), str(tmp_path), engine]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[3])}
        result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=280, check=False)
        assert result.returncode == 0, result.stderr[-3000:]
    for name in ("pairs.parquet", "labels.json", "judgements.parquet"):
        assert (tmp_path / "spark" / name).read_bytes() == (tmp_path / "duckdb" / name).read_bytes(), name


def test_spark_without_java_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyspark")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ResourceError, match="no Java"), open_engine(LabellingParameters(engine="spark"), tmp_path):
        pass
