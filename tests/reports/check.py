#!/usr/bin/env python3
"""Checks the reports in the folders of FOLDER with their real consumers.

usage: check.py FOLDER JUNIT_SCHEMA    each folder in FOLDER has report.FORMAT and `command`
"""

import csv
import json
import re
import sys
from pathlib import Path

import jsonschema
import junitparser
import yaml
from lxml import etree

# Cells that spreadsheets compute, also those with the full-width forms of these characters.
FORMULA = "=+-@|%\uff1d\uff0b\uff0d\uff20\t\r"
HEADER = "kind,namespace,name,level,store,provider,verdict,outcome,reason,message,keys,next step,at,seconds"


def main():
    work, xsd = Path(sys.argv[1]), etree.XMLSchema(etree.parse(sys.argv[2]))
    schemas = {}
    for path in sorted(work.glob("*.schema.json")):
        schema = json.loads(path.read_text())
        validator = jsonschema.validators.validator_for(schema)
        validator.check_schema(schema)
        schemas[path.name.split(".")[0]] = validator(schema)
    counts = {"reports": 0, "test cases": 0, "lines of CSV": 0, "cells that would be formulas": 0}
    for folder in sorted(path for path in work.iterdir() if path.is_dir()):
        command = (folder / "command").read_text().strip()
        try:
            document = check_documents(folder, command, schemas)
            rows = check_csv(folder / "report.csv", counts)
            check_junit(folder / "report.junit", xsd, rows, counts)
            check_markdown(folder / "report.markdown", document)
        except Exception as error:
            raise SystemExit(f"{command}: {type(error).__name__}: {error}") from error
        counts["reports"] += 1
    assert counts["cells that would be formulas"] > 0, "no report has a cell that would be a formula"
    print(", ".join(f"{count} {what}" for what, count in counts.items()))


def check_documents(folder, command, schemas):
    document = json.loads((folder / "report.json").read_text(), parse_constant=refuse, object_pairs_hook=once)
    assert document == json.loads((folder / "stdout").read_text() or "null") or document["kind"] == "Failure", "-o json differs from --report json"
    # BaseLoader keeps what YAML 1.1 takes for numbers and dates, so both are compared as text.
    same(plain(yaml.load((folder / "report.yaml").read_text(), Loader=yaml.BaseLoader)), plain(document), "$")
    typed = yaml.safe_load((folder / "report.yaml").read_text())
    assert typed["kind"] == document["kind"]
    words = [document["kind"].lower(), command.split()[0], "report"]
    schema = schemas[next(word for word in words if word in schemas)]
    errors = [f"{error.json_path}: {error.message}"[:300] for error in schema.iter_errors(document)]
    assert not errors, "; ".join(errors[:5])
    return document


def same(left, right, where):
    """Fails at the first difference between YAML and JSON."""
    if isinstance(left, dict) and isinstance(right, dict) and left.keys() == right.keys():
        for key in left:
            same(left[key], right[key], f"{where}.{key}")
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for number, pair in enumerate(zip(left, right)):
            same(*pair, f"{where}[{number}]")
    elif isinstance(right, float):
        assert float(left) == right, f"{where} is {left} in YAML and {right} in JSON"
    else:
        assert left == right, f"{where} is {left!r} in YAML and {right!r} in JSON"


def refuse(constant):
    raise ValueError(f"{constant} is not JSON")


def once(pairs):
    assert len(dict(pairs)) == len(pairs), "a key occurs twice"
    return dict(pairs)


def plain(value):
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return value if isinstance(value, float) else str(value)


def check_csv(path, counts):
    data = path.read_bytes()
    assert data.endswith(b"\r\n") and b"\n" not in data.replace(b"\r\n", b""), "lines do not end with CRLF"
    lines = list(csv.reader(data.decode().splitlines(keepends=True), strict=True))
    header, *rows = lines
    assert ",".join(header) == HEADER
    for row in rows:
        assert len(row) == len(header), row
        for cell in row:
            assert not cell.lstrip().startswith(tuple(FORMULA)), f"a spreadsheet would compute {cell!r}"
            counts["cells that would be formulas"] += cell.startswith("'") and cell[1:].lstrip().startswith(tuple(FORMULA))
    counts["lines of CSV"] += len(rows)
    return rows


def check_junit(path, xsd, rows, counts):
    xsd.assertValid(etree.parse(path))
    report = junitparser.JUnitXml.fromfile(str(path))
    cases = [case for suite in report for case in suite]
    assert len(cases) == len(rows), f"{len(cases)} test cases, {len(rows)} lines of CSV"
    assert report.tests == len(cases)
    bad = sum(isinstance(result, (junitparser.Failure, junitparser.Error)) for case in cases for result in case.result)
    levels = [row[3] for row in rows]
    assert bad == sum(level in ("failed", "unknown", "differs") for level in levels), "JUnit and CSV disagree"
    assert report.failures + report.errors == bad
    # What parsers compute themselves must equal what the file says.
    before = (report.tests, report.failures, report.errors)
    report.update_statistics()
    assert (report.tests, report.failures, report.errors) == before
    counts["test cases"] += len(cases)


def check_markdown(path, document):
    text = path.read_text()
    title = re.sub("(?<!^)[A-Z]", lambda letter: f" {letter[0].lower()}", document["kind"])
    assert len(text.encode()) < 1 << 20 and text.startswith(f"## eso-sync: {title} (exit code "), text[:200]


main()
