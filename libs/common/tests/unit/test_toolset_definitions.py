"""The definitions of the built-in tools."""

import pytest

from efferent.common.domain.permissions import SANDBOX_TOOLS
from efferent.common.domain.toolset import BUILTIN_TOOLS, definition


@pytest.mark.parametrize("name", SANDBOX_TOOLS)
def test_every_sandbox_tool_has_a_closed_object_schema(name: str) -> None:
    tool = definition(name)
    assert tool.name == name
    assert tool.description
    schema = tool.input_schema
    assert (schema["type"], schema["additionalProperties"]) == ("object", False)
    assert isinstance(schema["properties"], dict)
    assert isinstance(schema["required"], list)
    assert set(map(str, schema["required"])) <= set(schema["properties"])
    assert all(isinstance(shape, dict) and shape["description"] for shape in schema["properties"].values())


def test_web_tools_have_a_name_and_no_definition() -> None:
    assert set(BUILTIN_TOOLS) - set(SANDBOX_TOOLS) == {"web_fetch", "web_search"}
    with pytest.raises(KeyError):
        definition("web_fetch")
