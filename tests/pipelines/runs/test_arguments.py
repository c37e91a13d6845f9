"""Arguments as text become the types that a compiled pipeline declares, by the server's own rules."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kfp import compiler, dsl

from components.shared.errors import ParameterError
from pipelines.runs.arguments import convert_arguments, parse_assignments, read_parameters
from support.servers.kubeflow_server import check_inputs

pytestmark = pytest.mark.filterwarnings("ignore")  # kfp's own


@dsl.component(base_image="none-python", install_kfp_package=False)
def step(text: str) -> None:
    print(text)


@dsl.pipeline(name="of-every-type")
def of_every_type(
    text: str,
    number: float = 1.5,
    count: int = 3,
    flag: bool = False,
    words: list = ["a"],  # noqa: B006 (kfp copies it)
    table: dict = {"a": 1},  # noqa: B006
) -> None:
    step(text=text)


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> dict:
    package = tmp_path_factory.mktemp("compiled") / "p.yaml"
    compiler.Compiler().compile(of_every_type, str(package))
    return dict(read_parameters(package))


def accepted(declared: dict, arguments: dict) -> None:
    check_inputs(
        {
            "pipeline_spec": {"root": {"inputDefinitions": {"parameters": declared}}},
            "runtime_config": {"parameters": arguments},
        },
        "Failed",
    )


def test_each_type_is_converted_as_the_server_wants_it(declared: dict) -> None:
    words = ["text=12", "number=2", "count=7", "flag=True", 'words=["x", 1]', 'table={"k": null}']
    converted = convert_arguments("p", declared, parse_assignments(words))
    assert converted == {
        "text": "12", "number": 2.0, "count": 7, "flag": True, "words": ["x", 1], "table": {"k": None}
    }  # fmt: skip
    assert isinstance(converted["text"], str)
    accepted(declared, converted)


@pytest.mark.parametrize(
    "word",
    ["number=", "number=twelve", "number=nan", "number=1e999", "count=1.5", "count=true", "flag=yes", "flag=1",
     "words={}", "words=a,b", "table=[]", "table=1"],
)  # fmt: skip
def test_what_cannot_be_converted_is_refused_with_name_and_value(word: str, declared: dict) -> None:
    name, _, value = word.partition("=")
    with pytest.raises(ParameterError, match=f"'{name}' has to be") as caught:
        convert_arguments("p", declared, {"text": "x", name: value})
    assert repr(value) in str(caught.value)


def test_all_faults_and_all_parameters_are_in_one_message(declared: dict) -> None:
    with pytest.raises(ParameterError) as caught:
        convert_arguments("p", declared, {"tezt": "x", "count": "many"})
    for words in (
        "'tezt' is unknown",
        "'text' is missing",
        "'count' has to be",
        "text (text, required)",
        "flag (true or false",
    ):
        assert words in str(caught.value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_survives(number: float) -> None:
    declared = {"x": {"parameterType": "NUMBER_DOUBLE"}}
    converted = convert_arguments("p", declared, {"x": repr(number)})
    assert converted == {"x": number}
    accepted(declared, converted)


def test_a_pipeline_without_parameters_takes_none(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("root: {}\n")
    assert convert_arguments("p", read_parameters(tmp_path / "p.yaml"), {}) == {}
    with pytest.raises(ParameterError, match="'x' is unknown"):
        convert_arguments("p", read_parameters(tmp_path / "p.yaml"), {"x": "1"})


@pytest.mark.parametrize("word", ["hours", "=12", ""])
def test_a_word_without_name_or_value_is_refused(word: str) -> None:
    with pytest.raises(ParameterError, match="NAME=VALUE"):
        parse_assignments([word])
