"""Files that GitHub, Read the Docs and a release read; no other test would notice a mistake in them."""

import configparser
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import sb3_quantum

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted(path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config")


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def make_goals() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.M))


def test_citation_names_this_version() -> None:
    citation = load(ROOT / "CITATION.cff")
    assert citation["version"] == sb3_quantum.__version__
    assert citation["repository-code"] == setup_cfg()["metadata"]["url"]
    assert citation["license"] == setup_cfg()["metadata"]["license"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_run_goals_that_exist(path: Path) -> None:
    workflow = load(path)
    commands = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert commands
    goals = {goal for command in commands for call in re.findall(r"\bmake ([a-z -]+)", command) for goal in call.split()}
    assert goals <= make_goals()
    # What a pull request from a fork runs can write nothing; only a tag makes a release
    assert workflow["permissions"]["contents"] == "read" or list(workflow[True]["push"]) == ["tags"]  # YAML reads "on" as True


def test_every_python_that_is_promised_is_tested() -> None:
    lines = setup_cfg()["metadata"]["classifiers"].split("\n")
    promised = [line.rsplit(" ", 1)[1] for line in lines if re.search(r"Python :: 3\.\d+$", line)]
    assert load(ROOT / ".github/workflows/ci.yml")["jobs"]["tests"]["strategy"]["matrix"]["python-version"] == promised
    script = (ROOT / ".ci" / "release-check").read_text()
    assert re.search(r"for minor in ([\d ]+);", script)[1].split() == [version.split(".")[1] for version in promised]  # type: ignore[index]


def test_extras_that_are_installed_exist() -> None:
    extras = set(setup_cfg()["options.extras_require"])
    asked = set(load(ROOT / ".readthedocs.yaml")["python"]["install"][0]["extra_requirements"])
    for path in [*WORKFLOWS, ROOT / "Makefile", ROOT / ".ci" / "release-check"]:
        for found in re.findall(r'(?:\.|wheel)\[([a-z,]+)\]"', path.read_text()):
            asked |= set(found.split(","))
    assert asked <= extras and {"docs", "tests"} <= asked


def test_every_dependency_has_a_lower_bound() -> None:
    """Otherwise its first release is its oldest, and the weekly run with the oldest ones cannot even be installed."""
    lists = [setup_cfg()["options"]["install_requires"], *setup_cfg()["options.extras_require"].values()]
    requirements = [line for lines in lists for line in lines.split("\n") if line and not line.startswith("sb3-quantum[")]
    assert len(requirements) > 30
    assert [line for line in requirements if not re.search(r">=\d", line)] == []


def test_pinned_triton_is_what_the_pinned_torch_requires() -> None:
    """A package index has torch's CUDA build, which requires one version of triton; this is the pair's only record."""
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split("\n") if "==" in line)
    assert {"2.13.0": "3.7.1"}[pinned["torch"]] == pinned["triton"]


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_issue_forms_ask_something(path: Path) -> None:
    form = load(path)
    assert form["name"] and form["description"]
    assert any(part.get("validations", {}).get("required") for part in form["body"])
    names = [part["id"] for part in form["body"] if part["type"] != "markdown"]
    assert len(names) == len(set(names))


def test_release_check_is_a_shell_script() -> None:
    script = ROOT / ".ci" / "release-check"
    assert script.stat().st_mode & 0o100
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
