"""Reading the YAML file of model providers, with errors that say file, line, path and what is allowed."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from efferent.common.model_provider import ListPrices, ModelConfigError, ModelFile, Provider

FILE_BYTES_MAX: Final = 1024 * 1024
_SHAPES: Final[dict[str, type[BaseModel]]] = {"": ModelFile, "providers": Provider, "prices": ListPrices}
_SECRET_WORDS: Final = ("api_key", "key", "token", "auth_token", "secret", "password")


def read_model_file(path: Path) -> ModelFile:
    """Read and check the file. Raises ModelConfigError."""
    text = _text(path)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if isinstance(mark, yaml.Mark) else ""
        raise ModelConfigError(f"{path}{line}: not YAML: {getattr(error, 'problem', error)}") from error
    if root is None:
        return ModelFile()
    for line_number, key in _repeated_keys(root):
        raise ModelConfigError(f"{path}:{line_number}: the key {key!r} is given twice")
    try:
        return ModelFile.model_validate(raw)
    except ValidationError as error:
        details = error.errors(include_input=False, include_url=False, include_context=False)
        raise ModelConfigError("\n".join(_describe(path, root, detail) for detail in details[:10])) from None


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelConfigError(f"{path}: {error.strerror} (the models file, named by EFFERENT_MODELS_FILE)") from error
    if len(data) > FILE_BYTES_MAX:
        raise ModelConfigError(f"{path}: longer than {FILE_BYTES_MAX} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ModelConfigError(f"{path}: not UTF-8 at byte {error.start}") from error


def _describe(path: Path, root: yaml.Node, detail: ErrorDetails) -> str:
    """One line for one error. Values are never repeated: one of them may be a key in the wrong place."""
    location = detail["loc"]
    where = f"{path}:{_line(root, location)}: {_dotted(location)}"
    if detail["type"] != "extra_forbidden":
        return f"{where}: {detail['msg']}"
    section = next((part for part in reversed(location[:-1]) if isinstance(part, str)), "")
    allowed = ", ".join(sorted(_SHAPES[section].model_fields)) if section in _SHAPES else ""
    hint = ""
    if str(location[-1]).lower() in _SECRET_WORDS:
        hint = "; keys never stand in this file: name the variable that holds it with api_key_env"
    return f"{where}: unknown key; allowed here: {allowed}{hint}"


def _dotted(location: Sequence[int | str]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "the file"


def _line(root: yaml.Node, location: Sequence[int | str]) -> int:
    """Line of the deepest part of the path that the file has."""
    node: yaml.Node = root
    line: int = node.start_mark.line + 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            pair = next((pair for pair in node.value if pair[0].value == part), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line


def _repeated_keys(node: yaml.Node, depth: int = 0) -> Iterator[tuple[int, str]]:
    if depth > 20:
        return
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if str(key.value) in seen:
                yield key.start_mark.line + 1, str(key.value)
            seen.add(str(key.value))
            yield from _repeated_keys(value, depth + 1)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _repeated_keys(item, depth + 1)
