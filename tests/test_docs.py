"""Checks of the manual's pages: names, files, tables, links and the order of the layers."""

import ast
import importlib
import inspect
import json
import re
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import pytest

import sb3_quantum

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
PACKAGES = ("backends", "circuits", "common", "hub", "layers", "plots", "priors", "qtd3", "study", "zoo")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@cache
def text_of(page: Path) -> str:
    return page.read_text()


@cache
def prose(page: Path) -> str:
    """Without blocks of code, whose names are the readers' own."""
    without_fences = re.sub(r"^```.*?^```", "", text_of(page), flags=re.S | re.M)
    return re.sub(r"^    .*$", "", without_fences, flags=re.M)


@cache
def known() -> dict[str, Any]:
    """What a page can mean by a name: everything that a module of ours defines or imports."""
    found: dict[str, Any] = {}
    modules: list[ModuleType] = [sb3_quantum]
    for package in PACKAGES:
        for file in sorted((ROOT / "sb3_quantum" / package).rglob("*.py")):
            name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            modules.append(importlib.import_module(name))
    for module in modules:
        found.update({key: value for key, value in vars(module).items() if not key.startswith("__")})
    found.update({key: getattr(sb3_quantum, key) for key in sb3_quantum.__all__})
    return found


def code_words(page: Path) -> list[str]:
    return re.findall(r"`([^`\n]+)`", prose(page))


def has(owner: Any, name: str) -> bool:
    """Attributes that ``__init__`` sets count too, and what a class annotates."""
    if hasattr(owner, name):
        return True
    classes = inspect.getmro(owner) if inspect.isclass(owner) else ()
    return any(
        name in getattr(cls, "__annotations__", {}) or f"self.{name}" in inspect.getsource(cls)
        for cls in classes
        if cls.__module__.startswith(("sb3_quantum", "stable_baselines3"))
    )


@each_page
def test_methods_and_attributes_exist(page: Path) -> None:
    """``Class.method`` of a class of ours or of SB3's, and every dotted name below ``sb3_quantum``."""
    missing = []
    for word in code_words(page):
        for owner, name in re.findall(r"\b([A-Z]\w+)\.(\w+)", word):
            if owner in known() and not has(known()[owner], name):
                missing.append(f"{owner}.{name}")
        for dotted in re.findall(r"\bsb3_quantum(?:\.\w+)+", word):
            if not _resolves(dotted):
                missing.append(dotted)
    assert missing == []


def _resolves(dotted: str) -> bool:
    parts = dotted.split(".")
    # Commands parse their arguments when they are imported as a script only
    for end in range(len(parts), 0, -1):
        try:
            owner: Any = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for name in parts[end:]:
            if not has(owner, name):
                return False
            owner = getattr(owner, name, None)
        return True
    return False


@each_page
def test_a_row_about_a_step_names_the_method_that_does_it(page: Path) -> None:
    """Where a page says which method is step B1 to B4 of Algorithm 1, the method's docstring says the same."""
    for line in prose(page).splitlines():
        step = re.match(r"\| (\(B\d\))", line)
        if step:
            methods = re.findall(r"`QuantumTD3\.(\w+)`", line)
            documented = [getattr(sb3_quantum.QuantumTD3, method).__doc__ or "" for method in methods]
            assert methods and all(step[1] in text for text in documented), line


@each_page
def test_files_exist(page: Path) -> None:
    """Paths in code words: from the root, from the package, or from the page itself."""
    missing = []
    for word in code_words(page):
        for path in re.findall(r"(?<![\w/.<{*-])((?:[\w-]+/)+[\w.-]+\.(?:py|md|yml|json|txt|npz|png))(?![\w/*])", word):
            if path.startswith(("logs/", "checkpoints/")):
                continue
            if not any((place / path).exists() for place in (ROOT, ROOT / "sb3_quantum", page.parent)):
                missing.append(path)
    assert missing == []


@each_page
def test_tables_are_whole(page: Path) -> None:
    """Every block of rows begins with a head and a rule, and all of its rows have as many cells."""
    block: list[str] = []
    for number, line in enumerate([*prose(page).splitlines(), ""], start=1):
        if line.startswith("|"):
            block.append(line)
            continue
        if block:
            assert len(block) > 2 and re.fullmatch(
                r"\|(\s*:?-+:?\s*\|)+", block[1].strip()
            ), f"before line {number}: {block[0]}"
            cells = [len(re.findall(r"(?<!\\)\|", re.sub(r"`[^`]*`", "", row))) for row in block]
            assert len(set(cells)) == 1, f"before line {number}: cells {cells}"
        block = []


def least_width(table: list[str]) -> int:
    """
    Estimate the pixels below which a table cannot shrink on a phone, by its columns and their longest words.

    Code breaks anywhere there (docs/_static/custom.css), and has no longest word. For the widest tables Chromium needs
    from 13 % less to 7 % more.
    """
    rows = [re.split(r"(?<!\\)\|", re.sub(r"`[^`]*`", "", line))[1:-1] for line in (table[0], *table[2:])]
    columns = list(zip(*rows, strict=True))
    shown = [re.sub(r"\[([^\]]*)\]\([^)]*\)|\*", r"\1", " ".join(column)).replace("&shy;", " ") for column in columns]
    letters = sum(max(map(len, re.split(r"\s|(?<=[a-z])-", text))) for text in shown)
    return 7 * letters + (12 if len(columns) > 4 else 16) * len(columns)


@each_page
def test_tables_fit_a_phone(page: Path) -> None:
    """
    A screen of 390 pixels leaves a table 364, about 380 of the estimate.

    If one does not fit: fewer columns, rows for columns, two tables, or a CSV file.
    """
    blocks = re.findall(r"(?:^\|.*\n)+", prose(page), flags=re.M)
    assert [block for block in blocks if least_width(block.splitlines()) > 380] == []


@pytest.mark.parametrize(
    "head, fits",
    [
        (
            "| run | steps | cosine | of the prior | spread of inputs | spread of marginals | Q lost by shuffling | return |",
            False,
        ),
        ("| steps | cosine | prior | inputs | bits | Q lost | return |", True),
        ("| a claim | `python -m sb3_quantum.study run pendulum_links_cut` |", True),
        ("| " + " | ".join(f"{minute}.5 min" for minute in range(13)) + " |", False),
    ],
)
def test_width_of_a_table(head: str, fits: bool) -> None:
    rows = [head, "|" + " --- |" * head.count(" |"), "|" + " 10,000 |" * head.count(" |")]
    assert (least_width(rows) <= 380) == fits


def anchors(page: Path) -> set[str]:
    """Headings as GitHub and MyST write them in addresses."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text_of(page), flags=re.S | re.M), flags=re.M)
    plain = [re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)) for heading in headings]
    return {heading.strip().lower().replace(" ", "-") for heading in plain} | set(
        re.findall(r"^\((.+)\)=$", text_of(page), re.M)
    )


#: everything that has links: the pages, the API's, the models' cards, forms and templates, and the text of the notebooks
LINKING = sorted(
    [
        *PAGES,
        *(ROOT / "docs" / "api").glob("*.md"),
        *(ROOT / "docs" / "tutorials").glob("*"),
        *(ROOT / "models").glob("*/README.md"),
        *(ROOT / ".github").rglob("*.md"),
    ]
)
each_linking_page = pytest.mark.parametrize("page", LINKING, ids=lambda page: str(page.relative_to(ROOT)))


@cache
def linking_prose(page: Path) -> str:
    if page.suffix != ".ipynb":
        return prose(page)
    cells = json.loads(text_of(page))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def targets(page: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", linking_prose(page))


@each_linking_page
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in targets(page):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


#: well-known addresses, and how they are written
FORMS = {
    "arxiv.org": r"/abs/\d{4}\.\d{5}|/abs/\d{4}\.\d{4}",
    "doi.org": r"/10\.\d{4,}/\S+",
    "openreview.net": r"/forum\?id=\w{10}",
    "github.com": r"/[\w-]+/[\w.-]+(/(issues|blob/main/.+|tree/main/.+|actions/workflows/.+))?",
}


def fault_of_an_address(address: str) -> str:
    """What is wrong with the form of an address of the web, if anything."""
    parts = urlsplit(address)
    if parts.scheme != "https" or not re.fullmatch(r"([a-z0-9-]+\.)+[a-z]{2,}", parts.netloc):
        return "not an https address of a host"
    tail = parts.path + (f"?{parts.query}" if parts.query else "")
    if not re.fullmatch(FORMS.get(parts.netloc, ".*"), tail):
        return f"not as {parts.netloc} writes its addresses"
    ours = re.fullmatch(r"/sb3-quantum/sb3-quantum/(?:blob|tree)/main/(.+)", parts.path)
    if ours and not (ROOT / ours[1]).exists():
        return "not in the repository"
    workflow = re.match(r"/sb3-quantum/sb3-quantum/actions/workflows/([\w.-]+)", parts.path)
    if workflow and not (ROOT / ".github" / "workflows" / workflow[1]).exists():
        return "no such workflow"
    return ""


def addresses() -> list[tuple[str, str]]:
    """Every address of the web in pages, sources and metadata, with the file that it stands in."""
    files = [*LINKING, *(ROOT / "sb3_quantum").rglob("*.py"), *(ROOT / "benchmarks").glob("*.py"), ROOT / "CITATION.cff"]
    found = []
    for file in [*files, ROOT / "setup.cfg", ROOT / "pyproject.toml"]:
        text = linking_prose(file) if file in LINKING else text_of(file)
        for address in re.findall(r"https?://[^\s)>\]\"'`]+", text):
            if "{" not in address and not re.match(r"https?://(127\.|localhost)", address):
                found.append((str(file.relative_to(ROOT)), address.rstrip(".,;:")))
    return found


def test_addresses_of_the_web_are_well_formed() -> None:
    """The network is not asked."""
    found = addresses()
    assert len(found) > 30
    assert [(*place, fault) for place in found if (fault := fault_of_an_address(place[1]))] == []


@pytest.mark.parametrize(
    "address",
    [
        "http://arxiv.org/abs/2503.09119",
        "https://arxiv.org/abs/250309119",
        "https://arxiv.org/pdf/2503.09119v1.pdf",
        "https://doi.org/1137/0330046",
        "https://github.com/DLR-RM",
        "https://github.com/sb3-quantum/sb3-quantum/blob/main/docs/gone.md",
        "https://github.com/sb3-quantum/sb3-quantum/actions/workflows/gone.yml/badge.svg",
        "https://nowhere/page",
    ],
)
def test_a_malformed_address_is_found(address: str) -> None:
    assert fault_of_an_address(address)


def test_the_order_of_the_layers_is_the_contracts() -> None:
    """Wherever a page writes it with arrows, and in the contract's own name."""
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    order = [{part.strip() for part in layer.split(":")} for layer in reversed(contract["layers"])]
    written = [(page.name, chain) for page in PAGES for chain in re.findall(r"\w+(?: <- \w+)+", text_of(page))]
    written.append(("pyproject.toml", contract["name"].partition(": ")[2]))
    assert {"CONTRIBUTING.md", "architecture.md"} <= {name for name, _ in written}
    for name, chain in written:
        layers = chain.split(" <- ")
        # The topmost are commands, of which no page speaks
        assert len(layers) == len(order) - 1, name
        assert all(layer in allowed for layer, allowed in zip(layers, order, strict=False)), name


def test_the_map_of_the_package_is_whole() -> None:
    """docs/architecture.md names every module of every package, and no other."""
    text = text_of(ROOT / "docs" / "architecture.md").split("## ")[0]
    for package in PACKAGES:
        block = next(line for line in text.splitlines() if line.startswith(f"| `{package}/` |"))
        named = set(re.findall(r"\b(\w+)\.py\b", block))
        modules = {file.stem for file in (ROOT / "sb3_quantum" / package).glob("*.py")} - {"__init__"}
        assert named == modules, f"{package}: missing {modules - named}, gone {named - modules}"


@pytest.mark.parametrize("package", ["", *PACKAGES])
def test_every_public_name_is_described(package: str) -> None:
    """In the API's pages or on a page of its own: classes and functions that a package exports."""
    described = "\n".join(text for page in (ROOT / "docs").rglob("*.md") for text in [text_of(page)])
    modules = set(re.findall(r"automodule:: (\S+)", described))
    objects = set(re.findall(r"auto(?:class|function):: (\S+)", described))
    owner = importlib.import_module("sb3_quantum" + (f".{package}" if package else ""))
    missing = []
    for name in getattr(owner, "__all__", ()):
        exported = getattr(owner, name)
        module = getattr(exported, "__module__", "")
        if not (inspect.isclass(exported) or inspect.isfunction(exported)) or not module.startswith("sb3_quantum."):
            continue
        own_names = {f"{module}.{exported.__name__}", f"{owner.__name__}.{exported.__name__}"}
        packages = {module.rpartition(".")[0] + f".{exported.__name__}"}
        if module not in modules and not objects & (own_names | packages):
            missing.append(f"{module}.{name}")
    assert missing == []


def test_commands_in_docstrings_are_shown_as_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """As text, Sphinx would join their lines and make a dash of ``--``, and a copied command would fail."""
    pytest.importorskip("sphinx")
    from docutils import nodes
    from docutils.core import publish_doctree

    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    conf: Any = importlib.import_module("conf")
    commands = 0
    for path in sorted((ROOT / "sb3_quantum").rglob("*.py")):
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        expected = re.findall(r"^ {4}((?:\w+=\S+ )*python .*)", text, re.MULTILINE)
        if expected:
            lines = text.splitlines()
            conf.commands_as_code(None, "module", path.stem, None, None, lines)
            tree = publish_doctree("\n".join(lines), settings_overrides={"report_level": 5})
            shown = "\n".join(block.astext() for block in tree.findall(nodes.literal_block)).splitlines()
            assert shown == expected, path
            commands += len(expected)
    assert commands > 8
