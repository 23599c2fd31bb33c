"""The schema of protocol files for editors: JSON Schema, every key with its description."""

from __future__ import annotations

from typing import Any

from emoclip_clinical.study.protocol import Protocol
from emoclip_clinical.study.protocol_reading import EXTENDS

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def protocol_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a protocol file.

    An editor that knows it completes keys and marks faults. With the YAML language server, a file
    names it in its first line: ``# yaml-language-server: $schema=protocol.schema.json``.
    """
    schema = Protocol.model_json_schema()
    schema["$schema"] = DIALECT
    schema["title"] = "A study protocol of emoclip-clinical"
    schema["properties"] = {
        EXTENDS: {
            "type": "string",
            "description": "Another protocol whose settings hold where this file says nothing: a "
            "shipped one by its name, or a file, seen from this one",
        },
        **schema["properties"],
    }
    _allow_names_of_compositions(schema["$defs"])
    return schema


def _allow_names_of_compositions(definitions: dict[str, Any]) -> None:
    """Say what the model's own schema does not: a composition may be its bare name."""
    compositions = definitions["EvaluationConfig"]["properties"]["compositions"]
    name = definitions["CompositionConfig"]["properties"]["name"]
    compositions["items"] = {"anyOf": [compositions["items"], name]}
