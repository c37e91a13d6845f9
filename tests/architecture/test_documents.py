"""The documents are true: commands parse; links, files, make targets and folders exist; tables are those of the code."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

import components
from components.shared.files import tables
from components.shared.release import manifest
from components.shared.vectors.encoder import ENCODER_FILE
from components.shared.vectors.search import INDEX_FILE, VECTORS_FILE
from pipelines.__main__ import build_parser
from pipelines.runs.parameters import merge_assignments

ROOT = Path(components.__file__).parents[1]
DOCUMENTS = sorted(
    path for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*.md")]
)
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def shell_blocks(text: str) -> str:
    return "\n".join(re.findall(r"```sh\n(.*?)```", text, re.S))


def commands_of(text: str) -> list[str]:
    """Return the commands of the shell blocks, and those between backticks that are complete."""
    typed = re.findall(r"^(?:\.venv/bin/)?visual-search (.*?)(?:\s{2,}#.*)?$", shell_blocks(text), re.M)
    return typed + [each for each in re.findall(r"`visual-search ([^`]+)`", text) if "…" not in each]


def first_column(table_after: str, text: str) -> list[str]:
    """Return the first cells, without backticks, of the table that follows a sentence."""
    part = text[text.index(table_after) :]
    rows = re.search(r"^\|.*?\n\|[-|]+\n((?:\|.*\n)+)", part, re.M)[1].splitlines()
    return [row.split("|")[1].strip().strip("`") for row in rows]


@each_document
def test_every_command_parses(document: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in commands_of(document.read_text()):
        words = shlex.split(command)
        try:
            options = build_parser().parse_args(words)
        except SystemExit:
            # A mention by name, `visual-search ab report` or `visual-search rollout`, may leave out what is required.
            error = capsys.readouterr().err
            assert "required" in error, f"{document.name}: visual-search {command}: {error}"
            assert not any(word.startswith("-") for word in words), f"{document.name}: visual-search {command}: {error}"
        else:
            merge_assignments(getattr(options, "assignments", []) or [], {})


def test_the_readme_shows_commands() -> None:
    assert len(commands_of(README)) >= 20


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 200


@each_document
def test_every_make_target_exists(document: Path) -> None:
    targets = set(re.findall(r"`make ([a-z-]+)", document.read_text()))
    targets |= set(re.findall(r"^make ([a-z-]+)", shell_blocks(document.read_text()), re.M))
    assert targets <= set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))


@each_document
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = document.parent / path if path else document
        assert file.exists(), f"{document.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(), re.M)
            assert anchor in {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}, target


@each_document
def test_every_path_between_backticks_exists(document: Path) -> None:
    tops = "components|pipelines|serving|monitoring|manifests|docs|examples|benchmarks|tests|\\.ci|\\.github"
    for path in re.findall(rf"`((?:{tops})/[\w./*-]*)`", document.read_text()):
        is_example = path.endswith("/variety.py")  # a file that the reader is to write
        assert is_example or list(ROOT.glob(path.rstrip("/"))), f"{document.name}: {path}"


def test_the_tree_of_the_readme_shows_the_folders() -> None:
    tree = re.search(r"## Where things are\n\n```\n(.*?)```", README, re.S)[1]
    shown = set(re.findall(r"^([a-z]+)/", tree, re.M))
    there = {path.name for path in ROOT.iterdir() if path.is_dir() and re.fullmatch(r"[a-z]+", path.name)}
    assert shown == there - {"build"}
    top = ""
    for line in tree.splitlines():
        top = found[1] if (found := re.match(r"([a-z]+)/", line)) else top
        for name in re.findall(r"\b([a-z_]+)/(?=[ ,;:)]|$)", line):
            places = [ROOT / name, *(ROOT / top).glob(f"**/{name}")]
            assert any(place.is_dir() for place in places), line


def test_the_folders_of_the_packages_are_all_in_the_tree() -> None:
    tree = re.search(r"## Where things are\n\n```\n(.*?)```", README, re.S)[1]
    for package in ("pipelines", "serving", "monitoring", "components/shared"):
        for folder in (ROOT / package).iterdir():
            if (folder / "__init__.py").exists():
                assert f"{folder.name}/" in tree, folder


def test_the_contracts_of_the_architecture_are_those_of_the_linter() -> None:
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert first_column("import-linter enforces these contracts", ARCHITECTURE) == [
        contract["name"] for contract in linter["contracts"]
    ]
    layers = next(contract["layers"] for contract in linter["contracts"] if contract["type"] == "layers")
    rooms = [room.replace("/", ".") for room in first_column("Its rooms are layers", ARCHITECTURE)]
    assert [room for room in rooms if room in layers] == layers
    shared = {p.name for p in (ROOT / "components" / "shared").iterdir() if (p / "__init__.py").exists()}
    assert {room.rpartition(".")[2] for room in rooms} == shared


def test_the_tables_of_the_architecture_are_those_of_the_code() -> None:
    forms = {form.name: form for form in vars(tables).values() if isinstance(form, tables.TableFormat)}
    part = ARCHITECTURE[ARCHITECTURE.index("## Formats between the parts") :]
    rows = dict(re.findall(r"^\| ([a-z_]+) \| ([a-z0-9_, ]+) \|$", part, re.M))
    rows.pop("table", None)
    assert {name: columns.split(", ") for name, columns in rows.items()} == {
        name: form.schema.names for name, form in forms.items()
    }


def test_the_files_of_a_release_are_those_of_the_code() -> None:
    files = first_column("everything that one answer depends on", ARCHITECTURE.replace("that\none", "that one"))
    assert set(files) == {
        manifest.MANIFEST_FILE,
        ENCODER_FILE,
        INDEX_FILE,
        VECTORS_FILE,
        manifest.ITEMS_FILE,
        manifest.REFERENCE_FILE,
        manifest.GOLDEN_FILE,
    }
