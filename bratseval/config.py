"""YAML to Challenge: safe loading, `extends:`, and errors with path, line, field and remedy."""

from __future__ import annotations

import contextlib
import csv
import difflib
import os
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from bratseval.bundle import bundled_folder as bundled_folder
from bratseval.bundle import bundled_names as bundled_names
from bratseval.challenge import Challenge, Rulebook
from bratseval.errors import Faults, Problem, UsageError

MAX_BYTES = 1_000_000
MAX_DEPTH = 20
MAX_NODES = 20_000
MAX_EXTENDS = 10
MOST_OPEN = 100


# What the numbers of a bundled challenge were compared with.
PARITY_STATES = {
    "official": "equal to the recorded results of the organizers' code",
    "library": "equal to the recorded results of the library that the organizers name",
    "definition": "no official code is public; equal to a plain computation of the published definition",
}


def parity() -> dict[str, dict[str, str]]:
    """For each bundled challenge: parity (one of PARITY_STATES), against what, and the test that compares."""
    with (bundled_folder() / "parity.csv").open(encoding="utf-8", newline="") as file:
        return {
            row["challenge"]: {"parity": row["state"], "against": row["against"], "test": row["test"]}
            for row in csv.DictReader(file)
        }


def load_challenge(name_or_path: str | os.PathLike[str]) -> Challenge:
    """Read a bundled challenge by name, or any YAML file by path.

    Raises UsageError (exit 2) with every problem found, each with file, line and field.
    """
    path = find_file(name_or_path, Path.cwd())
    merged, places = _resolve(path, ())
    return _validate(merged, places, path)


def load_rulebook(name_or_path: str | os.PathLike[str]) -> Rulebook:
    """A challenge with the challenges that its cohorts follow."""
    challenge = load_challenge(name_or_path)
    if challenge.cohorts is None:
        return Rulebook(challenge, {})
    folder = find_file(name_or_path, Path.cwd()).parent
    return Rulebook(
        challenge,
        {
            cohort: load_challenge(find_file(name, folder))
            for cohort, name in challenge.cohorts.challenges.items()
        },
    )


def recorded_rulebook(record: Mapping[str, Any]) -> Rulebook:
    """The rules that a run.json was made under, wherever their YAML is by now.

    Raises UsageError where the record is of another version of bratseval, whose rules have other fields.
    """
    order = record.get("order", {})

    def rules(configuration: Mapping[str, Any]) -> Challenge:
        blocks = {
            name: _in_order(configuration[name], order.get(name, ())) for name in ("regions", "metrics")
        }
        return Challenge.model_validate({**configuration, **blocks})

    try:
        cohorts = record.get("cohort_configurations", {})
        rulebook = Rulebook(
            rules(record["configuration"]), {cohort: rules(own) for cohort, own in cohorts.items()}
        )
    except (KeyError, TypeError, ValueError) as error:  # a ValidationError is a ValueError
        message = f"the configuration in run.json cannot be read ({str(error).splitlines()[0]})"
        hint = f"it was written by bratseval {record.get('version')}; run again with this version"
        raise UsageError(Problem("error", "CFG002", message, hint)) from None
    return rulebook


def _in_order(block: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The same mapping with its keys as they are listed, others last."""
    known = [name for name in names if name in block]
    return {name: block[name] for name in dict.fromkeys((*known, *block))}


def uncomputed(rulebook: Rulebook) -> list[Problem]:
    """A warning of ranked metrics that are not computed: `run` refuses them, `rank` may be given them."""
    if not rulebook.uncomputed:
        return []
    message = f"{rulebook.challenge.name} ranks {', '.join(rulebook.uncomputed)} but does not compute it"
    hint = "add it to metrics; `run` refuses this, `bratseval rank` may rank scores from elsewhere"
    return [Problem("warning", "CFG008", message, hint)]


def find_file(name_or_path: str | os.PathLike[str], folder: Path) -> Path:
    """Path of a bundled challenge or of a YAML file (relative to ``folder``)."""
    text = os.fspath(name_or_path)
    if text in bundled_names():
        return bundled_folder() / f"{text}.yaml"
    path = folder / Path(text)
    with contextlib.suppress(OSError):  # a name that is too long
        if path.is_file():
            return path
    close = difflib.get_close_matches(text[:100], bundled_names(), n=1)
    hint = f"did you mean {close[0]!r}?" if close else "`bratseval challenges list` names the bundled ones"
    raise UsageError(
        Problem("error", "CFG001", f"{text[:200]!r} is neither a bundled challenge nor a YAML file", hint)
    )


Places = dict[tuple[str, ...], tuple[Path, int, int]]


def _resolve(path: Path, chain: tuple[Path, ...]) -> tuple[dict[str, Any], Places]:
    """Load a file and lay it over what it extends; remember where each field came from."""
    if path in chain or len(chain) >= MAX_EXTENDS:
        names = " -> ".join(p.name for p in (*chain, path))
        raise UsageError(
            Problem("error", "CFG004", f"extends goes round in a circle: {names}", file=str(path))
        )
    document = _read_yaml(path)
    places: Places = {}
    own = _plain(document, path, (), places)
    base_name = own.pop("extends", None)
    if base_name is None:
        return own, places
    if not isinstance(base_name, str):
        raise UsageError(Problem("error", "CFG003", "extends must be a name or a path", file=str(path)))
    base, base_places = _resolve(find_file(base_name, path.parent), (*chain, path))
    return _overlay(base, own), base_places | places


def _overlay(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings merge key by key, everything else is replaced, null removes a key."""
    merged = dict(base)
    for key, value in own.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _overlay(merged[key], value)
        else:
            merged[key] = value
    return merged


def _read_yaml(path: Path) -> Any:
    def fail(message: str, hint: str = "", line: int = 0) -> UsageError:
        where = f"{path}:{line}: " if line else f"{path}: "
        return UsageError(Problem("error", "CFG002", where + message, hint, file=str(path)))

    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise fail(f"the file has {size} bytes, more than the {MAX_BYTES} of a configuration")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise fail(f"cannot be read ({error})") from None
    if _most_open_brackets(text) > MOST_OPEN:
        raise fail("nested too deeply")
    yaml = YAML(typ="rt", pure=True)
    yaml.allow_duplicate_keys = False
    try:
        with warnings.catch_warnings(action="ignore"):
            document = yaml.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise fail(
            f"not valid YAML: {str(error.problem).strip()}",
            "check indentation and that each key occurs once",
            mark.line + 1 if mark else 0,
        ) from None
    except MemoryError:
        raise
    except Exception as error:  # its constructors raise whatever a strange tag or number leads to
        raise fail(f"not valid YAML: {(str(error) or type(error).__name__).splitlines()[0]}") from None
    if not isinstance(document, dict):
        raise fail("a challenge is a mapping of keys to values")
    return document


def _most_open_brackets(text: str) -> int:
    """How deep brackets are open; the scanner's time grows with the square of it. Quotes are not minded."""
    depth = most = 0
    for bracket in re.findall(r"[\[\]{}]", text):
        depth += 1 if bracket in "[{" else -1
        most = max(most, depth)
    return most


def _plain(
    node: Any, path: Path, at: tuple[str, ...], places: Places, budget: list[int] | None = None
) -> Any:
    """Plain Python values of a loaded document; refuses tags and documents that unfold hugely."""
    budget = [MAX_NODES] if budget is None else budget
    budget[0] -= 1
    if budget[0] < 0 or len(at) > MAX_DEPTH:
        raise UsageError(
            Problem("error", "CFG002", f"{path}: nested too deeply or too many aliases", file=str(path))
        )
    tag = getattr(node, "tag", None)
    if tag is not None and getattr(tag, "value", None):
        raise UsageError(
            Problem("error", "CFG002", f"{path}: the tag {tag.value} is not allowed", file=str(path))
        )
    if isinstance(node, dict):
        result = {}
        for key, value in node.items():
            if not isinstance(key, (str, int)) or isinstance(key, bool):
                raise UsageError(
                    Problem(
                        "error", "CFG002", f"{path}: the key {key!r} must be text", "quote it", file=str(path)
                    )
                )
            # A merged key has no place of its own.
            line, column = (node.lc.data or {}).get(key, (node.lc.line, node.lc.col))[:2]  # type: ignore[attr-defined]
            places[(*at, str(key))] = (path, line + 1, column + 1)
            result[str(key)] = _plain(value, path, (*at, str(key)), places, budget)
        return result
    if isinstance(node, list):
        return [_plain(value, path, (*at, str(i)), places, budget) for i, value in enumerate(node)]
    if node is None or isinstance(node, bool):
        return node
    if isinstance(node, str) and not node.isprintable() and any("\ud800" <= c <= "\udfff" for c in node):
        raise UsageError(
            Problem("error", "CFG002", f"{path}: {'.'.join(at)}: text is no Unicode", file=str(path))
        )
    for kind in (int, float, str):
        if isinstance(node, kind):
            return kind(node)
    raise UsageError(
        Problem(
            "error", "CFG002", f"{path}: {'.'.join(at)}: {node!r} is not text or a number", file=str(path)
        )
    )


def _validate(merged: dict[str, Any], places: Places, path: Path) -> Challenge:
    try:
        challenge = Challenge.model_validate(merged)
    except ValidationError as error:
        raise UsageError([one for item in error.errors() for one in _problems(item, places, path)]) from None
    if challenge.cohorts:
        for name in challenge.cohorts.challenges.values():
            find_file(name, path.parent)
    return challenge


def _problems(item: Any, places: Places, path: Path) -> list[Problem]:
    """One validation error as sentences with place, field, what was found and what is allowed."""
    field = [str(part) for part in item["loc"] if not _is_union_branch(part)]
    fault = item.get("ctx", {}).get("error")
    if isinstance(fault, Faults):
        return [_placed(".".join([*field, one]), "", places, path) for one in fault.faults]
    name = ".".join(field) or "challenge"
    message, hint = item["msg"].removeprefix("Value error, "), ""
    if item["type"] == "extra_forbidden":
        allowed = _allowed_keys(item["loc"][:-1])
        close = difflib.get_close_matches(str(item["loc"][-1]), allowed, n=1)
        message = "unknown key" + (f"; did you mean {close[0]!r}?" if close else "")
        hint = f"allowed: {', '.join(sorted(allowed))}" if allowed else ""
    elif item["type"] == "missing":
        message, hint = "this key is required", "`bratseval challenges schema` prints all keys"
    elif isinstance(item["input"], (str, int, float, bool)):
        message = f"{message} (found {item['input']!r})"
    return [_placed(f"{name}: {message}", hint, places, path)]


def _placed(sentence: str, hint: str, places: Places, path: Path) -> Problem:
    """The problem of a sentence that begins with a field, at the innermost key of it that a file has."""
    field = sentence.partition(": ")[0] + "."  # names of columns may have dots, too
    keys = [key for key in places if field.startswith(".".join(key) + ".")]
    file, line, column = places[max(keys, key=len)] if keys else (path, 1, 1)
    if file != path and not hint:
        hint = f"{path} extends this file: state there what fits"
    return Problem("error", "CFG003", f"{file}:{line}:{column}: {sentence}", hint, file=str(file))


def _is_union_branch(part: Any) -> bool:
    """Pydantic adds the name of the tried alternative of a union to the location; leave it out."""
    return isinstance(part, str) and ("[" in part or part in ("float", "int", "str", "constrained-float"))


@cache
def _schema() -> dict[str, Any]:
    return Challenge.model_json_schema()


def _allowed_keys(loc: Iterable[Any]) -> list[str]:
    """Keys of the model at a location, found in the JSON Schema."""
    nodes = _alternatives(_schema())
    for part in loc:
        found = [node.get("properties", {}).get(part) or node.get("additionalProperties") for node in nodes]
        nodes = [one for node in found if isinstance(node, dict) for one in _alternatives(node)] or nodes
    return list(dict.fromkeys(key for node in nodes for key in node.get("properties", {})))


def _alternatives(node: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The schemas that a node stands for: of anyOf each, and of items those of one."""
    if "$ref" in node:
        return _alternatives(_schema()["$defs"][node["$ref"].rsplit("/", 1)[1]])
    if further := [*node.get("anyOf", ()), *([node["items"]] if "items" in node else [])]:
        return [one for option in further for one in _alternatives(option)]
    return [node]


def editor_schema() -> dict[str, Any]:
    """JSON Schema of a challenge file: the model, with `extends:`, short regions and removal by null."""
    schema = Challenge.model_json_schema()
    fields = schema["properties"]
    fields["extends"] = {
        "type": "string",
        "description": "A bundled challenge or a file; name only what differs.",
    }
    region = fields["regions"]["additionalProperties"]
    labels = {"type": "array", "items": {"type": "string"}, "description": "The labels of the region."}
    fields["regions"]["additionalProperties"] = {"anyOf": [region, labels, {"type": "null"}]}
    for name in ("metrics", "labels"):
        fields[name]["additionalProperties"] = {
            "anyOf": [fields[name]["additionalProperties"], {"type": "null"}]
        }
    # A file that extends another need not repeat what that one says.
    schema["required"] = ["name"]
    return schema
