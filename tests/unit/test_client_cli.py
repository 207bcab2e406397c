import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from services import local
from services.client.cli import app
from tests.unit.test_catalogue_files import HEADER

DEMO = Path(local.__path__[0]) / "demo"


def vitrine(*arguments: str, stdin: str | None = None, **environment: str) -> Result:
    """Runs the command line where no cloud is."""
    nowhere = dict.fromkeys(("PUBSUB_EMULATOR_HOST", "STORAGE_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST"))
    return CliRunner().invoke(app, arguments, input=stdin, env=nowhere | environment)


def assert_refused(result: Result, complaint: str) -> None:
    """A line on stderr, nothing on stdout, no traceback."""
    assert result.exit_code in (1, 2)
    assert result.stdout == ""
    assert complaint in result.stderr
    assert "Traceback" not in result.stderr
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_every_command_has_help() -> None:
    listed = vitrine("--help")
    assert listed.exit_code == 0
    local = ["up", "down", "env", "logs"]
    commands = [
        "import",
        "request",
        "watch",
        "results",
        "cancel",
        "retry",
        "classify",
        "jobs",
        "upload",
        "rejected",
        "replay",
        "models",
        "disagreements",
        "label",
        "corrections",
        "quality",
        "audit",
        "erase",
        *local,
    ]
    for command in commands:
        assert command in listed.stdout
        assert vitrine(command, "--help").exit_code == 0
    for command in ("list", "show", "publish", "promote", "rollback", "compare"):
        assert command in vitrine("models", "--help").stdout
        assert vitrine("models", command, "--help").exit_code == 0
    assert vitrine("corrections", "export", "--help").exit_code == 0
    for command in ("accept", "correct", "dismiss", "list"):
        assert command in vitrine("label", "--help").stdout
        assert vitrine("label", command, "--help").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--folds", "1"], "folds: "),
        (["--attribute", "colour"], "--attribute: there is no attribute 'colour'; did you mean"),
        (["--run", "No Spaces"], "--run: "),
        (["--limit", "0"], "--limit: "),
        (["--start-year", "2012", "--end-year", "2010"], "--end-year: must not be before start_year"),
        (["--json", "--csv"], "only one of --json and --csv"),
        (["show", "autumn", "--json", "--csv"], "only one of --json and --csv"),
    ],
)
def test_a_wrong_audit_is_refused_before_anything_is_connected_to(
    arguments: list[str], complaint: str
) -> None:
    assert_refused(vitrine("audit", *arguments), complaint)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--limit", "0"], "limit: "),
        (["--start-year", "2012", "--end-year", "2010"], "end_year: must not be before start_year"),
        (["--classify", "some"], "classify: "),
        (["--classify", "both"], "needs an augmentation"),
        (["--job-id", "No Spaces"], "job_id: "),
        (["--augmentation", '{"rotation": {"degrees": 999}}'], "augmentation.rotation.degrees: "),
        (["--augmentation", "{"], "--augmentation: not JSON"),
        (["--augmentation", "no-such.json"], "no-such.json: No such file or directory"),
        (["--file", "no-such.json"], "no-such.json: No such file or directory"),
    ],
)
def test_a_wrong_request_is_refused_before_anything_is_connected_to(
    arguments: list[str], complaint: str
) -> None:
    assert_refused(vitrine("request", *arguments), complaint)


@pytest.mark.parametrize(("document", "complaint"), [("[1]", "message: "), ("nonsense", "--file: not JSON")])
def test_a_file_that_is_no_request_is_refused(document: str, complaint: str) -> None:
    assert_refused(vitrine("request", "--file", "-", stdin=document), complaint)


def test_flags_override_the_file(tmp_path: Path) -> None:
    file = tmp_path / "request.json"
    file.write_text(json.dumps({"limit": 0, "classify": "originals"}))
    assert_refused(vitrine("request", "--file", str(file)), "limit: ")
    fine = vitrine("request", "--file", str(file), "--limit", "5", "--home", str(tmp_path))
    assert_refused(fine, "no local cloud runs here")


@pytest.mark.parametrize(
    "arguments",
    [
        ["import", str(DEMO)],
        ["request"],
        ["watch", "job-1"],
        ["results", "job-1"],
        ["upload", __file__],
        ["rejected"],
        ["replay", "--all"],
        ["corrections", "export", "--format", "csv"],
        ["models", "list"],
        ["models", "promote", "v1", "--why", "better"],
        ["models", "publish", "."],
        ["env"],
    ],
)
def test_without_a_cloud_each_command_says_how_to_get_one(arguments: list[str], tmp_path: Path) -> None:
    assert_refused(vitrine(*arguments, VITRINE_HOME=str(tmp_path)), "`vitrine up`")


def test_options_of_all_commands_stand_before_or_after_the_command(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "staging.log").write_text("staged\n")
    for arguments in (
        ["--home", str(tmp_path), "logs", "staging"],
        ["logs", "staging", "--home", str(tmp_path)],
        ["logs", f"--home={tmp_path}", "staging"],
    ):
        assert vitrine(*arguments).stdout == "staged\n"
    assert vitrine("logs", "staging", VITRINE_HOME=str(tmp_path)).stdout == "staged\n"


def test_a_log_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    assert_refused(vitrine("logs", "staging", "--home", str(tmp_path)), "there are no logs in")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "staging.log").write_text("staged\n")
    assert_refused(vitrine("logs", "stagin", "--home", str(tmp_path)), "there are: staging")


def test_emulators_that_do_not_answer_are_named(tmp_path: Path) -> None:
    emulators = {
        "PUBSUB_EMULATOR_HOST": "127.0.0.1:1",
        "STORAGE_EMULATOR_HOST": "http://127.0.0.1:1",
        "BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:1",
    }
    result = vitrine("rejected", VITRINE_HOME=str(tmp_path), **emulators)
    assert_refused(result, "nothing answers at 127.0.0.1:1")


def test_a_folder_without_a_catalogue_is_refused(tmp_path: Path) -> None:
    assert_refused(vitrine("import", str(tmp_path)), "has no styles.csv or images.csv")
    assert_refused(vitrine("import", str(tmp_path / "nowhere")), "nowhere does not exist")
    (tmp_path / "styles.csv").write_text(f"{HEADER}\n,,,,,,,,,Shirt\n")
    assert_refused(vitrine("import", str(tmp_path)), "styles.csv has no products: 1 lines skipped")


@pytest.mark.parametrize(
    "arguments",
    [
        ["corrections", "export"],
        ["corrections", "export", "--format", "xml"],
        ["corrections", "export", "--format", "csv", "--since", "yesterday"],
        ["results", "j", "--json", "--csv"],
        ["replay"],
        ["replay", "a", "--all"],
        ["models", "promote", "v1"],
    ],
)
def test_options_that_exclude_each_other_are_refused(arguments: list[str]) -> None:
    assert vitrine(*arguments).exit_code == 2


def test_a_client_without_the_local_extra_says_so_and_works_without_it(tmp_path: Path) -> None:
    """Runs where neither psutil nor DuckDB can be imported."""
    for name in ("psutil", "duckdb"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('no {name} here', name='{name}')\n")
    environment = {name: value for name, value in os.environ.items() if not name.endswith("EMULATOR_HOST")}

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "services.client.cli", *arguments, "--home", str(tmp_path)]
        path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
        done = subprocess.run(
            command, env=environment | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        return done.stderr

    assert "needs the extra `local`" in run("up")
    assert "pip install 'vitrine[local]'" in run("env")
    assert "no local cloud runs here" in run("rejected")
