"""Reader of a study's file: base and arms, seeds, budget, evaluation, and the comparisons stated before the study runs."""

from collections.abc import Collection, Hashable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from sb3_quantum.circuits.checks import check_flag, check_int, check_number, keywords_checked, shown, unknown_names
from sb3_quantum.study.settings import merged
from sb3_quantum.study.spec import ABLATIONS, UNITS, Arm, Budget, Comparison, Environment, Evaluation, Study, StudyError

#: keys of an arm or a variant that are not settings
ARM_KEYS = ("from", "note", "seeds", "budget", "variants", "environment")
_STUDY_KEYS = (
    "name", "question", "environment", "budget", "base", "seeds", "variants", "arms",
    "evaluation", "comparisons", "thresholds",
)  # fmt: skip
#: an arm with ``from: nothing`` starts without the base's settings
NOTHING = "nothing"


def shipped() -> dict[str, Path]:
    """
    List the studies that come with the package.

    :return: their files by name
    """
    folder = Path(str(resources.files("sb3_quantum.study"))) / "files"
    return {path.stem: path for path in sorted(folder.glob("*.yml"))}


@keywords_checked({})
def read_study(source: str | Path) -> Study:
    """
    Read a study's file.

    :param source: its path, or a name of :func:`shipped`
    :return: the study
    :raises StudyError: if there is no such file, or it is invalid
    :raises ImportError: if PyYAML is missing
    """
    known = shipped()
    path = known.get(str(source), Path(source))
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        if path.suffix or len(path.parts) > 1:
            raise StudyError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
        message = unknown_names([str(source)], known, {})
        raise StudyError(f"study {message}; or give the path of a YAML file") from error
    return parse_study(text, str(path))


def parse_study(text: str, where: str = "the study") -> Study:
    """
    Parse a study's file.

    :param text: text of the file
    :param where: its name, for messages
    :return: the study
    :raises StudyError: if it is invalid
    :raises ImportError: if PyYAML is missing
    """
    data = _mapping(where, load_yaml(text, where))
    _known("key", data, _STUDY_KEYS, where)
    for key in ("name", "environment", "budget", "arms"):
        if key not in data:
            raise StudyError(f"{where}: {key!r} is missing")
    name = data["name"]
    if not isinstance(name, str) or not name.replace("_", "").isalnum():
        raise StudyError(f"{where}: name must be letters, digits and underscores, got {shown(name)}")
    try:
        arms = _arms(data, where)
        return Study(
            name=name,
            question=" ".join(str(data.get("question", "")).split()),
            environment=_environment(data["environment"], where),
            evaluation=_evaluation(data.get("evaluation") or {}, where),
            arms=arms,
            comparisons=_comparisons(data.get("comparisons") or [], arms, where),
            thresholds=tuple(check_number("thresholds", value) for value in _listed(where, "thresholds", data)),
            text=text,
        )
    except StudyError:
        raise
    except ValueError as error:
        raise StudyError(f"{where}: {error}") from error


def load_yaml(text: str, where: str) -> Any:
    """
    Load plain YAML, and refuse duplicate keys, of which YAML would silently keep the second.

    :param text: text of the file
    :param where: its name, for messages
    :return: plain data
    :raises StudyError: if it is not YAML, or a key occurs twice
    :raises ImportError: if PyYAML is missing
    """
    try:
        import yaml
    except ImportError as error:
        raise ImportError('studies need PyYAML: pip install "sb3-quantum[study]"') from error

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
            keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
            twice = sorted({str(key) for key in keys if keys.count(key) > 1})
            if twice:
                raise StudyError(f"{where}: {', '.join(map(repr, twice))} occurs twice, near line {node.start_mark.line + 1}")
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(text, Loader)
    except (yaml.YAMLError, RecursionError, TypeError) as error:
        raise StudyError(f"{where} is not YAML: {' '.join(str(error).split())}") from error


def _mapping(what: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise StudyError(f"{what} must be a mapping with names as keys, got {shown(value)}")
    return dict(value)


def _listed(where: str, key: str, data: Mapping[str, Any]) -> list[Any]:
    """Check a list; empty if missing."""
    value = data.get(key)
    if not isinstance(value, list | type(None)):
        raise StudyError(f"{where}: {key} must be a list, got {shown(value)}")
    return value or []


def _names(where: str, key: str, data: Mapping[str, Any]) -> list[str]:
    """Check a list of names; empty if missing."""
    names = _listed(where, key, data)
    if not all(isinstance(name, str) for name in names):
        raise StudyError(f"{where}: {key} must be a list of names, got {shown(names)}")
    return names


def _known(what: str, given: Collection[Any], known: Collection[str], where: str) -> None:
    """Refuse unknown names, and suggest the nearest known one."""
    message = unknown_names(given, known, {})
    if message:
        raise StudyError(f"{where}: {what} {message}")


def _environment(value: Any, where: str) -> Environment:
    data = {"id": value} if isinstance(value, str) else _mapping(f"{where}: environment", value)
    _known("key of the environment", data, ("id", "kwargs", "packages"), where)
    if not isinstance(data.get("id"), str):
        raise StudyError(f"{where}: environment must be an id, or a mapping with one, got {shown(value)}")
    kwargs = _mapping(f"{where}: kwargs of the environment", data.get("kwargs") or {})
    return Environment(data["id"], kwargs, tuple(_names(where, "packages", data)))


def _budget(value: Any, where: str) -> Budget:
    data = _mapping(f"{where}: budget", value)
    _known("budget", data, UNITS, where)
    if len(data) != 1:
        raise StudyError(f"{where}: budget must be one of {', '.join(UNITS)}, got {shown(value)}")
    (unit,) = data
    if unit == "cpu_minutes":
        return Budget(unit, check_number(f"budget of {where}: {unit}", data[unit], above=0))
    return Budget(unit, check_int(f"budget of {where}: {unit}", data[unit]))


def _seeds(value: Any, where: str) -> tuple[int, ...]:
    if isinstance(value, list):
        seeds = [check_int(f"seeds of {where}", seed, least=0) for seed in value]
    else:
        seeds = list(range(check_int(f"seeds of {where}", value)))
    twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
    if twice:
        raise StudyError(f"{where}: seeds must differ, but {', '.join(map(str, twice))} occurs twice")
    if not seeds:
        raise StudyError(f"{where}: seeds must be a number or a list of numbers, got {shown(value)}")
    return tuple(seeds)


def _evaluation(value: Any, where: str) -> Evaluation:
    data = _mapping(f"{where}: evaluation", value)
    _known("key of the evaluation", data, list(Evaluation.__dataclass_fields__), where)
    checked: dict[str, Any] = {}
    for key, given in data.items():
        if key == "ablations":
            checked[key] = tuple(_names(where, key, data))
            _known("ablation", checked[key], ABLATIONS, where)
        elif key == "deterministic":
            checked[key] = None if given is None else check_flag(key, given)
        elif key == "fidelity":
            checked[key] = check_flag(key, given)
        else:
            checked[key] = check_int(f"{key} of the evaluation", given, least=0 if key.endswith("first_seed") else 1)
    return Evaluation(**checked)


def _arms(data: dict[str, Any], where: str) -> tuple[Arm, ...]:
    """Build all arms, with those of every variant."""
    given = {name: _mapping(f"{where}: arm {name!r}", value or {}) for name, value in _mapping("arms", data["arms"]).items()}
    variants = {
        name: _mapping(f"{where}: variant {name!r}", value or {})
        for name, value in _mapping("variants", data.get("variants") or {}).items()
    }
    if not given:
        raise StudyError(f"{where}: arms must contain at least one arm")
    for name in (*given, *variants):
        if not name.replace("_", "").isalnum():
            raise StudyError(f"{where}: names of arms and variants are letters, digits and underscores, got {name!r}")
    for name, changes in variants.items():
        misplaced = sorted({"from", "note", "variants"} & set(changes))
        if misplaced:
            raise StudyError(f"{where}: the variant {name!r} must not have {misplaced[0]!r}, which is a key of arms")
    base = _mapping(f"{where}: base", data.get("base") or {})
    for name, arm in given.items():
        _known("variant", _names(f"{where}: arm {name!r}", "variants", arm), variants, f"{where}: arm {name!r}")
        if "environment" in arm:
            raise StudyError(f"{where}: arm {name!r} must not have an environment; give it to the study or to a variant")
    arms = []
    for variant, changes in (variants or {"": {}}).items():
        environment = _environment(changes["environment"], f"variant {variant!r}") if "environment" in changes else None
        for name in given:
            if variant not in (given[name].get("variants") or (variant,)):
                continue
            chain = _chain(name, given, where)
            settings: dict[str, Any] = {} if chain[-1].get("from") == NOTHING else base
            # The most distant ancestor first, and the variant after all of them, because its arms share it
            layers = [*reversed(chain), changes]
            for layer in layers:
                settings = merged(settings, {key: value for key, value in layer.items() if key not in ARM_KEYS})
            label = f"{variant}-{name}" if variant else name
            budget, seeds = data["budget"], data.get("seeds", 1)
            for layer in (changes, *reversed(chain)):
                budget, seeds = layer.get("budget", budget), layer.get("seeds", seeds)
            arms.append(
                Arm(
                    label,
                    variant,
                    settings,
                    _budget(budget, label),
                    _seeds(seeds, label),
                    " ".join(str(chain[0].get("note", "")).split()),
                    environment,
                )
            )
    return tuple(arms)


def _chain(name: str, arms: dict[str, dict[str, Any]], where: str) -> list[dict[str, Any]]:
    """Return an arm and its ancestors, one after the other."""
    chain, names = [arms[name]], [name]
    while (parent := chain[-1].get("from")) not in (None, NOTHING):
        _known("arm", [parent], arms, f"{where}: from of the arm {names[-1]!r}")
        if parent in names:
            raise StudyError(f"{where}: the arm {name!r} is derived from itself: {' from '.join([*names, parent])}")
        chain.append(arms[parent])
        names.append(parent)
    return chain


def _comparisons(value: Any, arms: tuple[Arm, ...], where: str) -> tuple[Comparison, ...]:
    """Build the comparisons; names without a variant mean the comparison within every variant."""
    if not isinstance(value, list):
        raise StudyError(f"{where}: comparisons must be a list of pairs of arms, got {shown(value)}")
    full = [arm.name for arm in arms]
    variants = list(dict.fromkeys(arm.variant for arm in arms))
    short = {arm.name.removeprefix(f"{arm.variant}-") for arm in arms}
    found = []
    for entry in value:
        data = dict(zip(("tested", "against"), entry, strict=False)) if isinstance(entry, list) else entry
        data = _mapping(f"{where}: a comparison", data)
        _known("key of a comparison", data, ("tested", "against", "margin", "claim"), where)
        if len({"tested", "against"} & set(data)) < 2 or (isinstance(entry, list) and len(entry) != 2):
            raise StudyError(f"{where}: a comparison is of two arms, [tested, against], got {shown(entry)}")
        pair = (str(data["tested"]), str(data["against"]))
        _known("arm of a comparison", pair, {*full, *short}, where)
        if pair[0] == pair[1]:
            raise StudyError(f"{where}: {pair[0]!r} is compared with itself")
        margin = None if data.get("margin") is None else check_number("margin", data["margin"], above=0)
        claim = " ".join(str(data.get("claim", "")).split())
        if set(pair) <= set(full):
            found.append(Comparison(*pair, margin, claim))
        elif set(pair) <= short:
            pairs = [(f"{variant}-{pair[0]}", f"{variant}-{pair[1]}") for variant in variants]
            found += [Comparison(*names, margin, claim) for names in pairs if set(names) <= set(full)]
        else:
            raise StudyError(f"{where}: a comparison names its variant in both arms or in none, got {shown(entry)}")
    environments = {arm.name: arm.environment for arm in arms}
    for each in found:
        if environments[each.tested] != environments[each.against]:
            raise StudyError(f"{where}: {each.tested} and {each.against} cannot be compared: their environments differ")
    asked = [frozenset((each.tested, each.against)) for each in found]
    twice = [sorted(pair) for pair in asked if asked.count(pair) > 1]
    if twice:
        raise StudyError(f"{where}: {' and '.join(twice[0])} are compared twice")
    return tuple(found)
