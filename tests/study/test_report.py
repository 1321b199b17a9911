"""The report agrees with the cells."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from sb3_quantum.study import Study, StudyError, figures, parse_study
from sb3_quantum.study.cell import folder_of, read_cell
from sb3_quantum.study.folder import FORMS, find, keep_form, stated_beforehand
from sb3_quantum.study.packed import found_in, pack, take, unpack
from sb3_quantum.study.page import Page
from sb3_quantum.study.report import all_verdicts, write_report
from tests.study.helpers import fake_cells, small

RETURNS = {"pqc": [-100.0, -104, -96, -101, -99], "zeros": [-300.0, -310, -290, -305, -295]}


@pytest.fixture(scope="module")
def study() -> Study:
    return small(seeds="5", comparisons="[{tested: pqc, against: zeros, claim: a | claim}]")


@pytest.fixture(scope="module")
def out(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    keep_form(study, out)
    fake_cells(study, out, RETURNS)
    # As if they had been run here
    for path in out.glob("*/*/cell.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "taken_over": None}))
    return out


@pytest.fixture()
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than everything else."""
    for name in ("seeds_figure", "curves_figure", "profiles_figure", "write"):
        monkeypatch.setattr(figures, name, lambda *args, **kwargs: None)


def test_a_page_of_all_that_there_is(study: Study, out: Path, tmp_path: Path) -> None:
    page = write_report(study, out, tmp_path)
    text, html = (tmp_path / "README.md").read_text(), page.read_text()
    for part in (text, html):
        assert "pqc is ahead of zeros by 200" in part and "10 of 10 cells are complete" in part
    assert "| a \\| claim | pqc against zeros |" in text and "<td>a | claim</td>" in html
    assert "| pqc | -1000 | 5 of 5 | 10 |" in text and "right in 88% with 5 seeds" in text
    for name in ("seeds", "curves", "hours", "profiles"):
        assert (tmp_path / f"{name}.png").stat().st_size > 5000 and f'src="{name}.png"' in html
    rows = list(csv.DictReader((tmp_path / "seeds.csv").open()))
    assert len(rows) == 10 and [float(row["mean_return"]) for row in rows[:5]] == RETURNS["pqc"]
    assert rows[0]["arm"] == "pqc" and rows[-1]["seed"] == "4" and rows[0]["updates"] == "80"


def test_what_is_left_out_is_said(study: Study, out: Path, tmp_path: Path, no_pictures: None) -> None:
    import shutil

    copy = shutil.copytree(out, tmp_path / "copy")
    changes: dict[int, dict[str, object]] = {
        0: {"status": "failed", "error": "OSError: no"}, 1: {"status": "budget", "interruption": "max_circuits"},
        2: {"budget": {"unit": "steps", "amount": 59}},
    }  # fmt: skip
    for seed, change in changes.items():
        path = folder_of(copy, "zeros", seed) / "cell.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    (folder_of(copy, "zeros", 3) / "curve.csv").write_text("")
    write_report(study, copy, tmp_path / "page")
    text = (tmp_path / "page" / "README.md").read_text()
    assert "6 of 10 cells are complete; 1 failed; 1 budget" in text and "cell zeros seed 0 failed: OSError: no" in text
    assert "zeros seed 1 was ended by a limit of its backend, and is left out: max_circuits" in text
    assert "cell zeros seed 2 is void: budget.amount was 59 and is 60" in text
    assert "curve.csv is damaged: it does not have the checksum that was saved" in text
    assert "pqc and zeros are not compared yet: zeros has 1 of at least 2 complete cells" in text


def test_comparisons_that_came_later_are_marked(study: Study, out: Path) -> None:
    (asked,) = study.comparisons
    cells = find(study, out).complete("pqc")
    assert stated_beforehand(asked, cells, out) == ""
    later = parse_study(study.text + "\n").comparisons[0]
    assert stated_beforehand(later, cells, out) == ""
    turned = type(asked)("zeros", "pqc")
    assert stated_beforehand(turned, cells, out) == "it was added after some of its cells were started"
    cells[0].manifest["study_hash"] = "0" * 16
    assert "no longer exists" in stated_beforehand(asked, cells, out)
    cells[0].manifest["taken_over"] = "elsewhere"
    assert "older than this file" in stated_beforehand(asked, cells, out)
    assert (out / FORMS / f"{study.hash}.yml").read_text() == study.text


def test_packed_cells_are_the_cells(study: Study, out: Path, tmp_path: Path, no_pictures: None) -> None:
    path = tmp_path / "packed" / "small.json.gz"
    assert pack(study, out, path) == 10 and path.stat().st_size < 4000
    first = path.read_bytes()
    pack(study, out, path)
    assert path.read_bytes() == first
    for cell in unpack(path):
        original = read_cell(folder_of(out, cell.arm, cell.seed))
        assert cell.returns.tolist() == original.returns.tolist() and cell.changes(study) == []
        assert all(np.array_equal(cell.curve[name], values) for name, values in original.curve.items())
    write_report(study, path, tmp_path / "page")
    assert "pqc is ahead of zeros" in (tmp_path / "page" / "README.md").read_text()
    # Into another folder, where some are there already
    fake_cells(study, tmp_path / "other", {"pqc": RETURNS["pqc"]})
    sentences = take(study, tmp_path / "other", path)
    assert sentences[0] == "pqc seed 0 is there already" and sentences[-1].startswith("5 cells were taken over")
    taken = find(study, tmp_path / "other").complete("zeros")
    assert [cell.returns.mean() for cell in taken] == RETURNS["zeros"] and taken[0].manifest["taken_over"] == path.name
    # Of a study that is another one by now
    assert len(found_in(small(seeds="5", budget="{steps: 3}"), path).void) == 10


def test_files_that_are_no_packed_study(study: Study, tmp_path: Path) -> None:
    path = tmp_path / "a.json.gz"
    for data in (b"", b"{}", b"\x1f\x8b\x08"):
        path.write_bytes(data)
        with pytest.raises(StudyError, match="is not a packed study"):
            unpack(path)
    with pytest.raises(StudyError, match="has no complete cells"):
        pack(study, tmp_path, path)


def test_corrections_are_within_a_variant() -> None:
    study = parse_study("""
        name: a
        environment: Pendulum-v1
        budget: {steps: 1}
        seeds: 5
        variants: {one: {}, two: {}}
        arms: {a: {}, b: {}, c: {}}
        comparisons: [[a, b], [a, c]]
        """)

    class Fake:
        def __init__(self, value: float):
            self.returns = np.array([value])

    values = {"a": [4.0, 5, 6, 7, 8], "b": [1.0, 2, 3, 4, 6], "c": [4.0, 5, 6, 7, 9]}
    groups = {
        variant: {f"{variant}-{arm}": [Fake(value) for value in rows] for arm, rows in values.items()}
        for variant in ("one", "two")
    }
    found = all_verdicts(study, groups)  # type: ignore[arg-type]
    assert [verdict.comparison.tested for verdict in found] == ["one-a", "one-a", "two-a", "two-a"]
    assert found[0].p == pytest.approx(2 * found[0].difference.p) and found[1].p == pytest.approx(found[1].difference.p)


def test_pages_escape_what_is_no_markup() -> None:
    page = Page("a <b>")
    page.text("1 < 2 and `a < b` and **bold**")
    page.items([])
    page.table(["x"], [])
    html = page.html()
    assert "1 &lt; 2 and <code>a &lt; b</code> and <b>bold</b>" in html and "<h1>a &lt;b&gt;</h1>" in html
    assert "<ul>" not in html and "<table>" not in html
