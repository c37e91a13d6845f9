"""Finished work depends on the code that it runs: no more, or an encoder is trained again for a comment; and no less."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import components
from components.shared.errors import ContractError
from components.shared.files.dependencies import code_digest

ROOT = Path(components.__file__).parent
STEPS = ("rendering", "catalogue", "labelling", "training", "embedding", "indexing", "evaluation", "registration")


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(
        shutil.copytree(
            ROOT, tmp_path_factory.mktemp("code") / "components", ignore=shutil.ignore_patterns("__pycache__")
        )
    )


def rerun_by(root: Path, file: str, addition: str) -> set[str]:
    """Return the steps whose finished work no longer counts once `addition` stands at the end of a file."""
    before = {step: code_digest(f"components.{step}.step", root) for step in STEPS}
    path = root / file
    text = path.read_text()
    path.write_text(text + addition)
    try:
        return {step for step in STEPS if code_digest(f"components.{step}.step", root) != before[step]}
    finally:
        path.write_text(text)


def test_a_module_for_serving_only_reruns_nothing(code: Path) -> None:
    assert rerun_by(code, "shared/release/served.py", "\n# a word more\n") == set()
    assert rerun_by(code, "shared/release/served.py", "\nMORE = 1\n") == set()
    assert rerun_by(code, "shared/release/generation.py", "\nMORE = 1\n") == set()


def test_a_changed_decoder_reruns_what_decodes(code: Path) -> None:
    changed = rerun_by(code, "shared/pictures/decoder.py", "\nMORE = 1\n")
    assert changed == {"catalogue", "training", "embedding", "evaluation", "registration"}


def test_a_comment_reruns_nothing_and_the_errors_are_in_everything(code: Path) -> None:
    assert rerun_by(code, "shared/pictures/decoder.py", "\n# a word more\n\n") == set()
    assert rerun_by(code, "shared/errors.py", "\nMORE = 1\n") == set(STEPS)


def test_a_step_is_rerun_for_its_own_modules_and_those_it_starts_as_processes(code: Path) -> None:
    assert rerun_by(code, "indexing/choose.py", "\nMORE = 1\n") == {"indexing"}
    assert rerun_by(code, "catalogue/inspector.py", "\nMORE = 1\n") == {"catalogue"}
    assert rerun_by(code, "training/__main__.py", "\nMORE = 1\n") == {"training"}
    assert rerun_by(code, "evaluation/report/report.html.j2", "\n<p>more</p>\n") == {"evaluation"}


def test_commands_that_live_beside_a_step_are_not_in_it(code: Path) -> None:
    assert rerun_by(code, "embedding/additions.py", "\nMORE = 1\n") == set()
    assert rerun_by(code, "embedding/component.py", "\nMORE = 1\n") == set()


def test_imports_are_followed_wherever_they_are(tmp_path: Path) -> None:
    root = tmp_path / "shop"
    (root / "till").mkdir(parents=True)
    for name, text in {
        "__init__.py": "",
        "till/__init__.py": "",
        "till/step.py": "def run():\n    from shop import coins\n",
        "coins.py": "import shop.mint\nVALUE = 1\n",
        "mint.py": 'COMMAND = ["python", "-m", "shop.stamp"]\n',
        "stamp.py": "from shop.till import step  # a circle ends too\n",
        "window.py": "",
    }.items():
        (root / name).write_text(text)
    before = code_digest("shop.till.step", root)
    for name in ("__init__.py", "till/__init__.py", "till/step.py", "coins.py", "mint.py", "stamp.py", "window.py"):
        text = (root / name).read_text()
        (root / name).write_text(text + "MORE = 1\n")
        assert (code_digest("shop.till.step", root) != before) == (name != "window.py"), name
        (root / name).write_text(text)
    with pytest.raises(ContractError, match=r"no module shop\.counter"):
        code_digest("shop.counter", root)
