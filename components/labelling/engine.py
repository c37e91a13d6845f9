"""The engines that run the click mining: one DataFrame API, DuckDB in this process or Spark on a cluster.

The mining modules are written once, in the PySpark DataFrame API. They use pyspark or sqlframe only through an `Engine`
and never import them.

Sums of fractions use fixed point (`fixed`): integers add up to the same in any order, so the result is the same to the
last bit on every engine, with every number of threads, in every run.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.labelling.parameters import LabellingParameters
from components.shared.errors import ResourceError
from components.shared.files.atomic import whole_file

Frame = Any  # pyspark.sql.DataFrame or sqlframe's equivalent
Column = Any

_NUMBERS = itertools.count()

_SHORTAGES = ("Out of Memory", "OutOfMemoryError", "No space left", "File too large", "Disk quota exceeded")

SCALE = 2.0**20  # fixed point: a resolution of 1e-6, exact up to 8e12


@dataclass(frozen=True)
class Engine:
    """A session of the DataFrame API.

    Attributes:
        session: SparkSession or sqlframe's equivalent.
        functions: the module pyspark.sql.functions or sqlframe's equivalent.
        scratch: folder for tables between the stages (on a cluster: one that all nodes see).
        connection: DuckDB's connection, None on Spark.
        damages: exceptions that the engine raises on damaged files.
    """

    session: Any
    functions: Any
    scratch: Path
    connection: Any = None
    damages: tuple[type[Exception], ...] = ()

    def read(self, paths: list[str]) -> Frame:
        """Read Parquet files as one table, with columns matched by name."""
        if self.connection is None:
            return self.session.read.parquet(*(_hadoop_uri(path) for path in paths))
        listed = ", ".join(f"'{_duckdb_glob(path)}'" for path in paths)
        return self._view(f"SELECT * FROM read_parquet([{listed}], union_by_name = true)")  # noqa: S608, no user's SQL

    def _view(self, query: str) -> Frame:
        """Make a DuckDB view of a query (sqlframe reads files one by one, and copies a whole query at every step)."""
        name = f"view_{next(_NUMBERS)}"  # never used twice: sqlframe remembers the columns of a name
        self.connection.execute(f"CREATE VIEW {name} AS {query}")
        return self.session.table(name)

    def cut(self, frame: Frame) -> Frame:
        """Return the same table as if read from one file: shortens the following queries, changes nothing else.

        After a join, sqlframe 4.10 confuses the tables in expressions of several columns (`when(a == 1, b)`) within `agg`
        and in columns used twice within `select`; cut, or select plain names, in between.
        """
        if self.connection is None:
            return frame
        return self._view(frame.sql(optimize=False, pretty=False, dialect="duckdb"))

    def keep(self, name: str, frame: Frame) -> Frame:
        """Write `frame` to the scratch folder once and return it as read from there.

        A later run reuses a finished table and recomputes a half-written one.

        Raises:
            ResourceError: memory or disk space is insufficient.
        """
        path = self.scratch / f"{name}.parquet"
        if not path.exists():
            part = self.scratch / f"{name}.part"
            _remove(part)
            with _shortages_named(self.scratch):
                self._write(frame, part)
            part.replace(path)
        return self.read([str(path)])

    def _write(self, frame: Frame, path: Path) -> None:
        if self.connection is None:
            frame.write.parquet(str(path))
            return
        query = frame.sql(optimize=False, pretty=False, dialect="duckdb")
        target = str(path).replace("'", "''")
        self.connection.execute(f"COPY ({query}) TO '{target}' (FORMAT parquet)")

    def small(self, name: str, table: pa.Table) -> Frame:
        """Pass a small Arrow table to the engine (through a file, since literals in SQL would round floats)."""
        path = self.scratch / f"{name}.parquet"
        with whole_file(path) as temporary:
            pq.write_table(table, temporary)
        return self.read([str(path)])

    def rows(self, frame: Frame) -> list[dict[str, Any]]:
        """Collect a small result."""
        return [row.asDict() for row in frame.collect()]

    def fixed(self, value: Column) -> Column:
        """Return `value` in fixed point, rounded half up, as a 64-bit integer."""
        return self.functions.floor(value * SCALE + 0.5).cast("bigint")

    def total(self, value: Column) -> Column:
        """Return the sum of an integer column as a 64-bit integer."""
        return self.functions.sum(value).cast("bigint")

    def fixed_total(self, value: Column) -> Column:
        """Return the sum of a column of fractions, exact in fixed point, as a double."""
        wide = self.functions.floor(value * SCALE + 0.5).cast("decimal(28,0)")
        return (self.functions.sum(wide).cast("double") / SCALE).cast("double")


@contextmanager
def open_engine(parameters: LabellingParameters, scratch: Path) -> Iterator[Engine]:
    """Open the engine that the parameters name; close it at the end.

    Raises:
        ResourceError: Spark is requested but pyspark or Java is missing, or the master does not answer.
    """
    opened = _open_duckdb if parameters.engine == "duckdb" else _open_spark
    with opened(parameters, scratch) as engine:
        yield engine


@contextmanager
def _open_duckdb(parameters: LabellingParameters, scratch: Path) -> Iterator[Engine]:
    import duckdb
    from sqlframe.duckdb import DuckDBSession, functions

    spill = scratch / "spill"
    shutil.rmtree(spill, ignore_errors=True)  # left by a killed run
    config: dict[str, Any] = {
        "memory_limit": f"{round(parameters.memory_gigabytes * 1000)}MB",
        "temp_directory": str(spill),
        "preserve_insertion_order": False,
        "autoinstall_known_extensions": False,
    }
    if parameters.threads:
        config["threads"] = parameters.threads
    connection = duckdb.connect(config=config)
    connection.execute("SET TimeZone = 'UTC'")
    session = DuckDBSession(conn=connection)
    helper = getattr(session, "_udf_conn", None)
    if helper is not None:  # its Python function keeps the library alive, which DuckDB reports as a leak at exit
        helper.remove_function("SOUNDEX")
        helper.close()
    try:
        yield Engine(session, functions, scratch, connection, (duckdb.Error,))
    finally:
        session.stop()  # it is a singleton: the next one must not get this connection
        connection.close()
        shutil.rmtree(spill, ignore_errors=True)


@contextmanager
def _open_spark(parameters: LabellingParameters, scratch: Path) -> Iterator[Engine]:
    try:
        from py4j.protocol import Py4JError
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession, functions
    except ImportError as error:
        raise ResourceError(
            'labelling.engine is "spark", but pyspark is not installed; install visual-search[spark] or choose "duckdb"'
        ) from error
    local = parameters.spark_master.startswith("local")
    if local and shutil.which("java") is None:
        raise ResourceError(
            'labelling.engine is "spark", but there is no Java here; install Java 17 or choose "duckdb"'
        )
    builder = SparkSession.builder.appName("visual-search labelling").config("spark.sql.session.timeZone", "UTC")
    if parameters.spark_master.startswith("sc://"):
        builder = builder.remote(parameters.spark_master)
    else:
        builder = builder.master(parameters.spark_master)
    if local:
        builder = (
            builder.config("spark.driver.memory", f"{round(parameters.memory_gigabytes * 1000)}m")
            .config("spark.sql.shuffle.partitions", "2")
            .config("spark.ui.enabled", "false")
            .config("spark.driver.host", "127.0.0.1")
            .config("spark.driver.bindAddress", "127.0.0.1")
        )
    try:
        session = builder.getOrCreate()
    except Exception as error:
        raise ResourceError(
            f"no Spark session at {parameters.spark_master} ({error}); correct labelling.spark_master"
        ) from error
    try:
        yield Engine(session, functions, scratch, damages=(PySparkException, Py4JError))
    finally:
        session.stop()


@contextmanager
def _shortages_named(scratch: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the engines have classes of their own, and Spark names the cause only in its text
        if any(sign in str(error) for sign in _SHORTAGES):
            raise ResourceError(
                f"mining the clicks needs more memory, or more disk below {scratch}, than there is "
                f"({str(error).strip().splitlines()[0]}); raise labelling.memory_gigabytes or free some disk, then run again"
            ) from error
        raise


def _hadoop_uri(path: str) -> str:
    return path.replace("s3://", "s3a://", 1) if path.startswith("s3://") else path


def _duckdb_glob(path: str) -> str:
    """Return DuckDB's pattern that matches this path alone, ready to be quoted."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in path).replace("'", "''")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
