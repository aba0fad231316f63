"""Checks events, a JSON document a line on standard input, by the published schemas of their specification.

usage: events_check.py openlineage|cdevents SPECS OWN_SCHEMA
"""

import json
import pathlib
import sys

from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry
from referencing.jsonschema import DRAFT202012

name, specs, own = sys.argv[1], pathlib.Path(sys.argv[2]), json.loads(pathlib.Path(sys.argv[3]).read_text())
schemas = [json.loads(path.read_text()) for path in sorted((specs / name).rglob("*.json"))]
schemas = [schema for schema in schemas if "$id" in schema] + [own]
registry = Registry().with_resources((schema["$id"], DRAFT202012.create_resource(schema)) for schema in schemas)


def check(schema, document):
    Draft202012Validator(schema, registry=registry, format_checker=FormatChecker()).validate(document)


def openlineage(event):
    check({"$ref": event["schemaURL"]}, event)
    for facets in (event["run"]["facets"], event["job"]["facets"]):
        for facet in facets.values():
            if facet["_schemaURL"].startswith(own["$id"]):
                check({"$ref": facet["_schemaURL"]}, facet)


def cdevents(event):
    kinds = (s for s in schemas if s.get("properties", {}).get("context", {}).get("properties", {}).get("type"))
    of_type = [s for s in kinds if event["context"]["type"] in s["properties"]["context"]["properties"]["type"]["enum"]]
    assert len(of_type) == 1, event["context"]["type"]
    check(of_type[0], event)


events = [json.loads(line) for line in sys.stdin]
assert events
for event in events:
    {"openlineage": openlineage, "cdevents": cdevents}[name](event)
print(f"{len(events)} events")
