"""api/openapi.yaml says what the server does, and docs/api.md says the same."""

import json
import subprocess
from typing import Any

import pytest
import yaml

from tests.support.hako import BUILD, ROOT

DOCUMENT = yaml.safe_load((ROOT / "api" / "openapi.yaml").read_text())
OPERATIONS = [(path, method.upper(), operation) for path, methods in DOCUMENT["paths"].items()
              for method, operation in methods.items()]
#: Written down for people only.
PROSE = ("description", "summary")


def bare(schema: Any) -> Any:
    """A schema without what is for people; what is implied is left out on both sides."""
    if isinstance(schema, list):
        return [bare(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "allOf" in schema:
        return bare(schema["allOf"][0])
    if isinstance(schema.get("properties"), dict):
        properties = {name: bare(each) for name, each in schema["properties"].items()}
        rest = bare({key: value for key, value in schema.items() if key != "properties"})
        return {**rest, "properties": properties}
    return {key: bare(value) for key, value in schema.items()
            if key not in PROSE and not (key == "minimum" and value == 0)}


def test_schemas_are_those_of_the_structs():
    dump = json.loads(subprocess.run([BUILD / "tests" / "unit" / "api" / "schema-dump"], capture_output=True, check=True,
                                     text=True).stdout)
    written = DOCUMENT["components"]["schemas"]
    for name, schema in dump.items():
        assert bare(written[name]) == bare(schema), name
    assert set(written) - set(dump) == {"VmCounters", "Refusal"}


def test_operations_have_names_of_their_own():
    names = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("path, method, operation", OPERATIONS, ids=lambda value: value if isinstance(value, str) else "")
def test_each_operation_is_served_and_answers_as_written(api, path, method, operation):
    query = "?follow=false" if path.endswith("/events") else ""
    body = b"{}" if "requestBody" in operation else b""
    assert api.ask("PUT" if method == "GET" else "GET", path).status == 405
    if "requestBody" in operation:
        assert api.ask(method, path, b"nonsense").status == 400
    answer = api.ask(method, path + query, body)  # last: it may be the end of the process
    assert str(answer.status) in operation["responses"], answer


def test_the_guide_is_made_from_it():
    subprocess.run([ROOT / "tools" / "api-doc", "--check"], check=True)


def test_every_verb_of_ctl_is_an_operation():
    text = subprocess.run([BUILD / "tools" / "hako" / "hako", "ctl", "--help"], capture_output=True, check=True, text=True)
    verbs = [line.split()[0] for line in text.stdout.partition("Verbs:\n")[2].partition("\n\n")[0].splitlines()
             if line.startswith("  ") and not line.startswith("   ")]
    assert len(set(verbs) - {"migrate"}) == len(OPERATIONS)  # that is send-migration, followed to its end
