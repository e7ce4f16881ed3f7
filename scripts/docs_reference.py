"""Reference pages: all commands and their options, all keys of a challenge file, all problem codes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import typer
from docs_text import ROOT, code, facts, prose, table

from bratseval.cli import app
from bratseval.config import editor_schema

CODE = r"[A-Z]{3}\d{3}"
SERIES = {
    "SUB": "What a submission holds",
    "ARC": "Archives",
    "NII": "Image files",
    "GEO": "Grids",
    "LBL": "Labels",
    "CSV": "Tables",
    "RUN": "The run, merging and ranking",
    "OUT": "The output folder",
    "PIC": "Pictures of cases",
    "CFG": "Challenge files",
}
EXIT_CODES = (
    ("0", "complete; no problem at or above `--fail-on`", "–"),
    ("1", "finished and written, but a submission has problems at or above `--fail-on`", "participant"),
    ("2", "wrong usage or configuration", "caller"),
    ("3", "references or list of cases unusable", "organizer"),
    ("4", "incomplete: cases crashed, took too long or did not run; the same command goes on", "operator"),
    ("5", "output not writable, disk full, folder in use, or made under another configuration", "operator"),
    ("70", "a fault of bratseval; `-vv` shows the trace", "developers"),
    ("130, 143", "interrupted, terminated; finished cases are kept", "–"),
)
# Variables that no option names; those of options are read from the options.
ENVIRONMENT = {
    "NO_COLOR": "any value: plain text, as `--no-color`",
    "GITHUB_STEP_SUMMARY": "file to which `validate --format github` adds its table; GitHub sets it",
}


def reference_pages() -> dict[str, str]:
    """Path in the site -> Markdown."""
    return {"commands.md": _commands(), "challenge-file.md": _challenge_file(), "problems.md": _problems()}


# Commands


def commands() -> Iterator[tuple[str, Any, Any]]:
    """Every command with its full name, in the order of --help."""

    def under(name: str, command: Any, parent: Any) -> Iterator[Any]:
        context = command.context_class(command, info_name=name.rpartition(" ")[2], parent=parent)
        yield name, command, context
        if hasattr(command, "list_commands"):
            for child in command.list_commands(context):
                yield from under(f"{name} {child}", command.get_command(context, child), context)

    yield from under("bratseval", typer.main.get_command(app), None)


def _commands() -> str:
    parts = [
        "# Commands\n",
        "Every command and option. `bratseval COMMAND --help` prints the same, with examples. Results go to "
        "files, what people read to stderr, and `--format json` prints one JSON document to stdout. The "
        "last line of stderr is the verdict in one sentence.\n",
    ]
    variables = dict(ENVIRONMENT)
    for name, command, context in commands():
        level = "##" if name.count(" ") < 2 else "###"
        parts.append(f"{level} {name}\n")
        parts.append(prose(" ".join((command.help or "").split())) + "\n")
        if not hasattr(command, "list_commands"):
            usage = " ".join(command.collect_usage_pieces(context))
            parts.append(f"```text\n{name} {usage}\n```\n")
        rows = []
        for parameter in command.get_params(context):
            if getattr(parameter, "hidden", False):
                continue
            rows.append(_parameter(parameter))
            if parameter.envvar:
                variables[str(parameter.envvar)] = (
                    f"as `{parameter.opts[-1]}`: {getattr(parameter, 'help', '')}"
                )
        parts.append(table(("option", "default", "meaning"), rows))
        if command.epilog:
            parts.append("```bash\n" + "\n".join(examples_of(command)) + "\n```\n")
    parts += ["## Exit codes\n", table(("code", "meaning", "who acts"), EXIT_CODES)]
    parts.append("Where several causes meet, the first of 70, 5, 3, 2, 4, 1 counts.\n")
    parts += ["## Environment\n", "Options beat variables, and variables beat the YAML.\n"]
    parts.append(table(("variable", "meaning"), ((code(k), v) for k, v in sorted(variables.items()))))
    return "\n".join(parts)


def examples_of(command: Any) -> list[str]:
    """The example lines of a command's epilog."""
    return [
        line.strip() for line in (command.epilog or "").splitlines() if line.strip().startswith("bratseval ")
    ]


def _parameter(parameter: Any) -> tuple[str, str, str]:
    names = ", ".join(code(name) for name in (*parameter.opts, *parameter.secondary_opts))
    if parameter.param_type_name == "argument":
        names = code(parameter.metavar or parameter.name.upper())
    elif parameter.metavar:
        names += f" {code(parameter.metavar)}"
    default = "required" if parameter.required else ""
    if not default and parameter.default not in (None, "", False) and not callable(parameter.default):
        default = code(parameter.default)
    return names, default or "–", prose(getattr(parameter, "help", "") or "")


# Challenge file


def _challenge_file() -> str:
    schema = editor_schema()
    models = schema["$defs"]
    blocks: list[tuple[str, str]] = []
    parts = [
        "# Keys of a challenge file\n",
        "Generated from the JSON Schema that `bratseval challenges schema` prints; your editor can check a "
        "file with it. [How to write a challenge](write-a-challenge.md) shows the keys at work. `null` "
        "removes what the extended file has.\n",
        "## The file itself\n",
        _keys("Challenge", schema, models, blocks),
    ]
    done: set[str] = set()
    while blocks:
        model, key = blocks.pop(0)
        if model in done:
            continue
        done.add(model)
        parts += [f"## {key} {{ #{_anchor(model)} }}\n", prose(models[model].get("description", "")) + "\n"]
        parts.append(_keys(model, models[model], models, blocks))
    return "\n".join(parts)


def _anchor(model: str) -> str:
    named = {
        "LesionRules": "lesions",
        "MetricSpec": "metrics",
        "RegionRules": "region-lesions",
        "Region": "regions",
    }
    return named.get(model, model.lower())


def _keys(
    model: str, node: Mapping[str, Any], models: Mapping[str, Any], blocks: list[tuple[str, str]]
) -> str:
    """The table of a block; the blocks that it names are added to the list."""
    rows, written = [], facts("keys").get(model, {})
    for key, value in node["properties"].items():
        kind = _kind(value, key, blocks)
        default = "required" if key in node.get("required", ()) else _default(value)
        text = value.get("description") or written.get(key) or _of_block(value, models)
        rows.append((code(key), kind, default, prose(text) or "–"))
    return table(("key", "value", "default", "meaning"), rows)


def _of_block(value: Mapping[str, Any], models: Mapping[str, Any]) -> str:
    """What the block says of itself that a key refers to."""
    refs = [one["$ref"] for one in (value, *value.get("anyOf", ())) if "$ref" in one]
    return models[refs[0].rpartition("/")[2]].get("description", "") if refs else ""


def _default(value: Mapping[str, Any]) -> str:
    if "default" not in value or value["default"] in ({}, []) or isinstance(value["default"], dict):
        return "–"
    return "none" if value["default"] is None else code(value["default"])


def _kind(value: Mapping[str, Any], key: str, blocks: list[tuple[str, str]]) -> str:
    """What may stand there, in words; a block is a link."""
    if "$ref" in value:
        model = value["$ref"].rpartition("/")[2]
        blocks.append((model, key))
        return f"[block](#{_anchor(model)})"
    if "enum" in value:
        return " ".join(code(one) for one in value["enum"])
    if "const" in value:
        return code(value["const"])
    for union in ("anyOf", "oneOf"):
        if union in value:
            kinds = [_kind(one, key, blocks) for one in value[union] if one.get("type") != "null"]
            return " or ".join(dict.fromkeys(kinds))
    if value.get("type") == "array":
        inner = _kind(value["items"], key, blocks) if value.get("items") else "value"
        return f"list of: {inner}"
    if value.get("type") == "object":
        further = value.get("additionalProperties")
        inner = _kind(further, key, blocks) if isinstance(further, dict) else "value"
        return f"name: {inner}"
    words = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    limits = [
        f"{sign} {value[bound]:g}"
        for bound, sign in (
            ("minimum", "≥"),
            ("exclusiveMinimum", ">"),
            ("maximum", "≤"),
            ("exclusiveMaximum", "<"),
        )
        if bound in value
    ]
    return " ".join(filter(None, (words.get(str(value.get("type")), "value"), ", ".join(limits))))


# Problems


@dataclass(frozen=True)
class Found:
    """A place in the sources where a problem is made; … in message and hint stands for what is filled in."""

    severity: str
    message: str
    hint: str
    file: str


def codes_in_sources() -> set[str]:
    """Every code that the text of the package names."""
    texts = (path.read_text(encoding="utf-8") for path in (ROOT / "bratseval").rglob("*.py"))
    return {found for text in texts for found in re.findall(rf'"({CODE})"', text)}


@cache
def problems_in_sources() -> dict[str, list[Found]]:
    """Code -> where a problem with it is made, as far as its message stands there."""
    found: dict[str, list[Found]] = {}
    for path in sorted((ROOT / "bratseval").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        scopes = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        for scope in scopes:
            for name, one in _problems_of(scope, str(path.relative_to(ROOT))):
                if one not in found.setdefault(name, []):
                    found[name].append(one)
    return found


def _problems_of(scope: ast.FunctionDef, file: str) -> Iterator[tuple[str, Found]]:
    texts = _assigned(scope)
    for node in ast.walk(scope):
        if not isinstance(node, ast.Call):
            continue
        place = next((k for k, a in enumerate(node.args) if _is_code(a)), None)
        if place is None or len(node.args) <= place + 1:
            continue
        known = {
            name: text for line, name, text in texts if line < node.lineno
        }  # the last one before the call
        severity = _text(node.args[place - 1], {}) if place else ""
        further = [_text(one, known) for one in node.args[place + 1 :]]
        named = {k.arg: _text(k.value, known) for k in node.keywords if k.arg}
        message, hint = further[0], (further[1] if len(further) > 1 else named.get("hint", ""))
        if message:
            yield node.args[place].value, Found(severity, message, hint, file)  # type: ignore[attr-defined]


def _assigned(scope: ast.FunctionDef) -> list[tuple[int, str, str]]:
    """Line, name and text of what is assigned in a function, in the order of the lines."""
    found = []
    for node in ast.walk(scope):
        if not isinstance(node, ast.Assign) or len(node.targets) != 1:
            continue
        target, value = node.targets[0], node.value
        pairs = [(target, value)]
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            pairs = list(zip(target.elts, value.elts, strict=False))
        for name, one in pairs:
            if isinstance(name, ast.Name) and (text := _text(one, {})):
                found.append((node.lineno, name.id, text))
    return sorted(found)


def _is_code(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and bool(re.fullmatch(CODE, node.value))
    )


def _text(node: ast.AST, known: Mapping[str, str]) -> str:
    """The text of an expression, with … for what is filled in; empty where it is no text."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(
            one.value if isinstance(one, ast.Constant) else "…"
            for one in node.values  # type: ignore[misc]
        )
    if isinstance(node, ast.Name):
        return known.get(node.id, "")
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _text(node.left, known), _text(node.right, known)
        return (left or "…") + (right or "…") if left or right else ""
    if isinstance(node, ast.IfExp):
        return _text(node.body, known) or _text(node.orelse, known)
    return ""


@dataclass(frozen=True)
class Entry:
    """What the page says of a code."""

    means: str
    severities: tuple[str, ...]
    examples: tuple[tuple[str, str], ...]  # sentence and hint


def problem_entries() -> dict[str, Entry]:
    """An entry for every code: its meaning by hand, sentences and hints from the sources or by hand."""
    written, found = facts("problems"), problems_in_sources()
    entries: dict[str, Entry] = {}
    for name in sorted(codes_in_sources() | set(written)):
        own, places = written.get(name, {}), found.get(name, [])
        examples = [(own["message"], own.get("hint", ""))] if "message" in own else []
        examples += [(one.message, one.hint) for one in places if re.search("[a-z]{3}", one.message)]
        severities = sorted({one.severity for one in places if one.severity}) or ["error"]
        entries[name] = Entry(own.get("means", ""), tuple(severities), tuple(dict.fromkeys(examples)))
    return entries


def _problems() -> str:
    parts = [
        "# Problems\n",
        "Every problem has a code that does not change, one sentence that says what is wrong, and a hint "
        "that says what to do. All problems of a submission are listed at once, and in `problems.csv` too. "
        "… stands for a name or a number. A submission with an error gives exit code 1; what is refused "
        "costs its own case, never more.\n",
    ]
    entries = problem_entries()
    for series, title in SERIES.items():
        parts.append(f"## {series}: {title}\n")
        for name, one in entries.items():
            if name.startswith(series):
                parts.append(f"### {name} {{ #{name.lower()} }}\n")
                parts.append(f"{prose(one.means)} ({', '.join(one.severities)})\n")
                parts += [
                    f"- {prose(message)}{f' → *{prose(hint)}*' if hint else ''}"
                    for message, hint in one.examples
                ]
                parts.append("")
    return "\n".join(parts)
