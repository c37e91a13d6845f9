"""The prose check finds each pattern on its list where people would read it, and nothing in what is there."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import components

ROOT = Path(components.__file__).parents[1]
SCRIPT = ROOT / ".ci" / "prose.py"

BROKEN = {
    "settings: of the process": "noun after the colon",
    "What fails is counted.": "begins with 'What'",
    "it is refused, what comes later is not": "'what is …'",
    "the figures may be looked at every day": "check, view",
    "'x' is no time that can be read": "is not a …",
    "the files lie where the manifest stands": "is stored in",
    "at most so many pictures in a batch": "number",
    "build the index anew and start": "plainer word",
    "runs again and again until stopped": "repeatedly",
    "mend the client that sends them": "fix",
    "refused for want of memory here": "plainer phrase",
    "nobody has run it for a day": "name the person",
    "pictures that look alike to it": "similar",
    "the process ended without a word": "who reports",
}


@pytest.fixture(scope="module")
def prose() -> ModuleType:
    spec = importlib.util.spec_from_file_location("prose", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["prose"] = module
    spec.loader.exec_module(module)
    return module


def test_everything_that_people_read_is_clean(prose: ModuleType) -> None:
    files = prose.checked_files()
    assert {
        "README.md",
        "docs/operations.md",
        "pipelines/__main__.py",
        "serving/web/static/index.html",
        "monitoring/alerts.yaml",
    } <= set(files)
    assert prose.check(files) == []


def test_every_rule_is_broken_here_once(prose: ModuleType) -> None:
    found = {pattern.pattern for words in BROKEN for pattern, _ in prose.COMPILED if pattern.search(words)}
    assert found == set(prose.RULES)


@pytest.mark.parametrize(("words", "advice"), BROKEN.items())
def test_a_pattern_is_found_wherever_it_is(prose: ModuleType, words: str, advice: str) -> None:
    for reader, content in (
        (prose.texts_of_markdown, f"# Title\n\nFirst.\n\n- {words}\n"),
        (prose.texts_of_markdown, f"| a | b |\n|---|---|\n| a cell | {words} |\n"),
        (prose.texts_of_python, f'raise ParameterError(f"{{name}} failed. {words}")\n'),
        (prose.texts_of_python, f'parser.add_argument("--x", help="{words}")\n'),
        (prose.texts_of_page, f"<p>A picture</p>\n<p>{words}</p>"),
        (prose.texts_of_script, f'say("{words}");\n'),
        (prose.texts_of_yaml, f"# {words}\nkind: Pod\n"),
        (prose.texts_of_yaml, f'summary: "{words}"\n'),
    ):
        faults = [fault for text in reader("some/file", content) for fault in prose.faults(text)]
        assert any(advice in fault for fault in faults), (reader.__name__, faults)


@pytest.mark.parametrize(
    ("reader", "content"),
    [
        ("texts_of_markdown", "```sh\nbuild the index anew and start\n```\n\nSay `mend the client` to it.\n"),
        ("texts_of_python", '"""Build the index anew and start."""\n'),
        ("texts_of_page", "<style>/* mend the client */</style><code>mend the client</code>"),
        ("texts_of_script", "/* mend the client */ const x = 1; // mend the client\n"),
        ("texts_of_markdown", "There is no release yet. It is no longer served. What is search?\n"),
    ],
)
def test_code_and_plain_sentences_are_left_alone(prose: ModuleType, reader: str, content: str) -> None:
    assert [fault for text in getattr(prose, reader)("f", content) for fault in prose.faults(text)] == []


def test_the_line_of_a_fault_is_named(prose: ModuleType) -> None:
    (text,) = [
        text
        for text in prose.texts_of_markdown("x.md", "One.\n\n```sh\ncode\n```\n\nTwo lines\nmend the client\n")
        if list(prose.faults(text))
    ]
    assert text.line == 7


def test_the_command_fails_on_a_fault(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("Mend nothing; nobody mended the client.\n")
    done = subprocess.run([sys.executable, str(SCRIPT), str(page)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "places to reword" in done.stderr
    assert "use 'fix' or 'repair'" in done.stdout
    page.write_text("All is well here.\n")
    assert subprocess.run([sys.executable, str(SCRIPT), str(page)], check=False).returncode == 0
