"""Strict JSON Schemas (draft 2020-12) of what the installed SDK reads.

The SDK's models take almost anything: what may be null may be missing too, and unknown fields are kept. A server that
wants to be read by every SDK must do better. These schemas know which fields are always there and which are never null
(``presence``), that a union is decided by its discriminator, and that no field is unknown.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from pydantic import TypeAdapter

Schema = dict[str, Any]
Presence = Mapping[str, Mapping[str, Literal["required-nullable", "optional"]]]
"""By model and field: what the SDK's Python types cannot say. Everything else that may be null may be missing."""

PREFIX: Final = "#/components/schemas/"
_DISCRIMINATORS: Final = ("type", "name")
_NOISE: Final = ("title", "description", "default")


class SchemaSet:
    """The schemas of all models that were asked for, each once."""

    def __init__(self, presence: Presence) -> None:
        self._presence = presence
        self.models: dict[str, Schema] = {}

    def of(self, annotation: Any) -> Schema:
        """The schema of a type; the models that it names are put in ``models``."""
        schema = TypeAdapter(annotation).json_schema(ref_template=PREFIX + "{model}", mode="validation")
        for name, model in schema.pop("$defs", {}).items():
            self.models.setdefault(name, _cleaned(model))
        return self._named(_cleaned(schema), annotation)

    def finish(self) -> None:
        """Make them strict, once all are known. Raises ValueError when a fact names what the SDK does not have."""
        unknown = [name for name in self._presence if name not in self.models]
        if unknown:
            raise ValueError(f"presence: the SDK has no {unknown}")
        for name, model in self.models.items():
            _apply_presence(name, model, self._presence.get(name, {}))
            if "properties" in model:
                model["additionalProperties"] = False
        for model in self.models.values():
            self.discriminate(model)
        self.models = dict(sorted(self.models.items()))

    def discriminate(self, schema: Schema) -> None:
        """Turn each ``anyOf`` whose members tell themselves apart into a ``oneOf`` with its discriminator, in place."""
        for node in list(_nodes(schema)):
            members = [member for member in node.get("anyOf", ()) if "$ref" in member]
            rest = [member for member in node.get("anyOf", ()) if "$ref" not in member]
            mapping = self._mapping([member["$ref"] for member in members]) if len(members) > 1 else None
            if mapping is None:
                continue
            union = {"oneOf": members, "discriminator": mapping}
            del node["anyOf"]
            node.update(union if not rest else {"anyOf": [union, *rest]})

    def _named(self, schema: Schema, annotation: Any) -> Schema:
        """A model stands under its own name, also when it is what was asked for."""
        if "properties" not in schema:
            return schema
        name = annotation.__name__
        self.models.setdefault(name, schema)
        return {"$ref": PREFIX + name}

    def _mapping(self, refs: list[str]) -> Schema | None:
        for name in _DISCRIMINATORS:
            mapping: dict[str, str] = {}
            for ref in refs:
                field = self.models[ref.removeprefix(PREFIX)].get("properties", {}).get(name, {})
                mapping |= dict.fromkeys(_values(field), ref)
            if len(mapping) >= len(refs) and set(mapping.values()) == set(refs):
                return {"propertyName": name, "mapping": dict(sorted(mapping.items()))}
        return None


def _values(field: Schema) -> list[str]:
    values = [field["const"]] if "const" in field else field.get("enum", [])
    return [value for value in values if isinstance(value, str)]


def _apply_presence(name: str, model: Schema, facts: Mapping[str, str]) -> None:
    for field, fact in facts.items():
        properties = model.get("properties", {})
        if field not in properties:
            raise ValueError(f"presence: the SDK's {name} has no {field}")
        if fact == "required-nullable":
            model["required"] = sorted({*model.get("required", ()), field})
        else:
            properties[field] = _without_null(properties[field])


def _without_null(schema: Schema) -> Schema:
    members = [member for member in schema.get("anyOf", ()) if member != {"type": "null"}]
    if not members:
        return schema
    return members[0] if len(members) == 1 else {**schema, "anyOf": members}


def _cleaned(node: Any) -> Any:
    """Without words: only the shape is a fact."""
    if isinstance(node, list):
        return [_cleaned(item) for item in node]
    if not isinstance(node, dict):
        return node
    cleaned = {key: _cleaned(value) for key, value in node.items() if key not in _NOISE or isinstance(value, dict)}
    if "properties" in cleaned:
        cleaned.pop("additionalProperties", None)
    return cleaned


def _nodes(node: Any) -> Iterator[Schema]:
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from _nodes(value)
    elif isinstance(node, list):
        for value in node:
            yield from _nodes(value)
