"""The worked examples of CONTRIBUTING.md are true: their code runs, and what they name is where they say."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from pathlib import Path
from typing import ClassVar

import numpy as np

import components
from components.shared.release.manifest import open_catalogue
from components.shared.truth import metrics
from serving.transformer.search.catalogue import Catalogue
from serving.transformer.search.results import SearchOptions
from serving.transformer.search.rows import Rows
from serving.transformer.search.rules.chain import BUILT_IN, ChainParameters
from serving.transformer.search.rules.rule import Rule, counted
from support.factories.release_factory import make_release

ROOT = Path(components.__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
BLOCKS = [textwrap.dedent(block) for block in re.findall(r"```python\n(.*?)```", TEXT, re.S)]


def test_the_metric_is_right() -> None:
    known = {**vars(metrics)}
    exec(next(block for block in BLOCKS if "r_precision" in block), known)
    rng = np.random.default_rng(0)
    grades = rng.choice(4, size=(50, 12), p=[0.7, 0.1, 0.1, 0.1]).astype(np.uint8)
    relevant = metrics.count_relevant(grades)
    values = known["r_precision"](grades, relevant)
    for row, number, value in zip(grades, relevant, values, strict=True):
        if number:
            assert value == sum(grade >= 2 for grade in row[:number]) / number
        else:
            assert np.isnan(value)
    assert known["r_precision"](np.array([[3, 0, 2, 0]], np.uint8), np.array([2])).tolist() == [0.5]


def test_the_rule_is_right(tmp_path: Path) -> None:
    known = {
        "Rule": Rule, "counted": counted, "Counter": Counter, "ClassVar": ClassVar, "Rows": Rows, "SearchOptions": SearchOptions,
    }  # fmt: skip
    exec("from __future__ import annotations\n" + next(block for block in BLOCKS if "Variety" in block), known)
    release = open_catalogue(make_release(tmp_path, items=12, views=2))
    catalogue = Catalogue(release, chain=ChainParameters(rules=(*BUILT_IN, known["Variety"])))
    answer = catalogue.search(catalogue.vector_of(catalogue.samples(1, seed=0)[0].image_id), SearchOptions(k=10))
    assert max(Counter(result.category for result in answer.results).values()) == 2


def test_every_name_is_where_the_text_says() -> None:
    named = re.findall(r"`(\w+)` in `([\w./]+\.py)`", " ".join(TEXT.split()))
    assert len(named) >= 9
    for name, path in named:
        assert re.search(rf"\b{name}\b(:| =|\()", (ROOT / path).read_text()), f"{name} in {path}"
    for path in re.findall(r"`((?:tests|components|serving|monitoring)/[\w./]+)`", TEXT):
        assert (ROOT / path).exists() or "variety" in path, path


def test_the_hooks_and_the_workflow_run_what_make_runs() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    assert set(re.findall(r"repo: (\S+)", hooks)) == {"local"}
    makefile = (ROOT / "Makefile").read_text()
    check = makefile[makefile.index("\ncheck:") : makefile.index("\nformat:")]
    for entry in re.findall(r"entry: \.venv/bin/(\S+ ?\S*)", hooks):
        assert entry.split()[0] in check, entry
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert re.findall(r"run: (.+)", workflow) == [".ci/run"]
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith("make test")


def test_the_changelog_has_the_version_of_the_product() -> None:
    versions = re.findall(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert versions[0] == components.VERSION
    assert versions == sorted(versions, key=lambda each: tuple(map(int, each.split("."))), reverse=True)
