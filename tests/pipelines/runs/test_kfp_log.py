"""The log of kfp.local, as it really is, to what a person reads."""

from pipelines.runs.kfp_log import Console

LOG = """\
13:40:49.926 - INFO - Running pipeline: \x1b[95m'outer'\x1b[0m
--------------------------------------------------------------------------------
13:40:49.934 - INFO - Executing task \x1b[96m'catalogue'\x1b[0m
13:40:49.934 - INFO - Streamed logs:

    [KFP Executor 2026-11-22 13:40:50,004 INFO]: Looking for component `mk` in --component_module_path `/tmp/x.py`
    [KFP Executor 2026-11-22 13:40:50,005 INFO]: Got executor_input:
    {
        "inputs": {
            "parameterValues": {
                "parameters": "{}"
            }
        }
    }
    catalogue: 10/20 50%
    catalogue: 20/20 100%
    [KFP Executor 2026-11-22 13:40:50,907 INFO]: Wrote executor output file to /tmp/executor_output.json.

13:40:50.921 - INFO - Task \x1b[96m'catalogue'\x1b[0m finished with status \x1b[92mSUCCESS\x1b[0m
13:40:50.922 - INFO - Task \x1b[96m'catalogue'\x1b[0m outputs:
    Output: True
13:40:51.000 - INFO - Executing task \x1b[96m'labelling'\x1b[0m
    [KFP Executor 2026-11-22 13:40:50,005 INFO]: Got executor_input:
    {
    }
"""

OWN = """\
    Traceback (most recent call last):
      File "/x/executor.py", line 453, in execute
        result = self.func(**func_kwargs)
    components.shared.errors.SourceError: the folder x is empty; put pictures there

13:40:54.577 - ERROR - Task \x1b[96m'labelling'\x1b[0m finished with status \x1b[91mFAILURE\x1b[0m
"""

CHAINED = """\
    Traceback (most recent call last):
      File "/x.py", line 1, in f
        open("x")
    FileNotFoundError: [Errno 2] No such file or directory: 'x'

    The above exception was the direct cause of the following exception:

    Traceback (most recent call last):
      File "/x.py", line 3, in g
        raise SourceError("x")
    components.shared.errors.SourceError: x does not exist; give another path
13:40:54.577 - ERROR - Task \x1b[96m'labelling'\x1b[0m finished with status \x1b[91mFAILURE\x1b[0m
"""

FOREIGN = """\
    Traceback (most recent call last):
      File "/x/step.py", line 9, in run
        1 / 0
    ZeroDivisionError: division by zero
13:40:54.577 - ERROR - Task \x1b[96m'labelling'\x1b[0m finished with status \x1b[91mFAILURE\x1b[0m
"""

KILLED = """\
    half a li
13:40:54.577 - ERROR - Task \x1b[96m'labelling'\x1b[0m finished with status \x1b[91mFAILURE\x1b[0m
"""


def read(log: str) -> tuple[list[str], Console]:
    console = Console()
    return [shown for line in log.splitlines(keepends=True) for shown in console.read(line)], console


def test_tasks_and_their_lines_are_shown_without_the_executors_dump() -> None:
    shown, console = read(LOG)
    assert shown[:3] == ["▶ catalogue", "  catalogue: 10/20 50%", "  catalogue: 20/20 100%"]
    assert shown[3].startswith("✔ catalogue (")
    assert shown[4:] == ["▶ labelling"]
    assert console.error == ""


def test_own_error_is_one_sentence_without_traceback() -> None:
    shown, console = read(LOG + OWN)
    assert console.error == "the folder x is empty; put pictures there"
    assert console.failed == "labelling"
    assert not any("Traceback" in line for line in shown)
    assert shown[-1].startswith("✘ labelling")


def test_own_error_with_a_cause_is_the_last_sentence() -> None:
    shown, console = read(LOG + CHAINED)
    assert console.error == "x does not exist; give another path"
    assert not any("FileNotFoundError" in line for line in shown)


def test_foreign_error_is_shown_with_its_traceback() -> None:
    shown, console = read(LOG + FOREIGN)
    assert console.error == "ZeroDivisionError: division by zero"
    assert any("1 / 0" in line for line in shown)


def test_killed_task_says_so() -> None:
    _, console = read(LOG + KILLED)
    assert "out of memory" in console.error
    assert "run the same command again" in console.error
