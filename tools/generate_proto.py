"""Generate the gRPC code of the hands from ``proto/``; ``--check`` fails when what is committed differs.

protoc writes modules for the package of the proto file; they are moved into ``efferent.common.hands_api``, because both
sides of the wire import them and services never import each other. protoc has no types for services, so the typed stub
of the service file is written here, from the descriptor.
"""

import argparse
import re
import sys
import tempfile
from pathlib import Path
from typing import Final

from google.protobuf import descriptor_pb2

ROOT: Final = Path(__file__).resolve().parents[1]
PROTO: Final = "efferent/hands/v1/sandbox.proto"
TARGET: Final = ROOT / "libs/common/efferent/common/hands_api"
MODULE: Final = "efferent.common.hands_api"
STUB_HEADER: Final = f'''"""Types of the generated service code; written by tools/generate_proto.py."""

from collections.abc import AsyncIterator

import grpc.aio

from {MODULE} import sandbox_pb2
'''


def generated() -> dict[str, str]:
    """Run protoc; returns the text of every generated file by its name."""
    from grpc_tools import protoc  # type: ignore[import-untyped]  # heavy, and a development tool only

    with tempfile.TemporaryDirectory() as folder:
        arguments = [f"-I{ROOT / 'proto'}", *(f"--{kind}_out={folder}" for kind in ("python", "pyi", "grpc_python"))]
        descriptors = Path(folder, "descriptors")
        if protoc.main(["protoc", *arguments, f"--descriptor_set_out={descriptors}", PROTO]):
            raise SystemExit("protoc failed")
        package = Path(folder, PROTO).parent
        files = {path.name: _moved(path.read_text()) for path in sorted(package.iterdir())}
        described = descriptor_pb2.FileDescriptorSet.FromString(descriptors.read_bytes())
    files["sandbox_pb2_grpc.pyi"] = _service_types(described.file[0])
    return files


def _moved(text: str) -> str:
    """The same module, importing its sibling from where it is kept."""
    return re.sub(r"^from efferent\.hands\.v1 import", f"from {MODULE} import", text, flags=re.MULTILINE)


def _service_types(file: descriptor_pb2.FileDescriptorProto) -> str:
    """The ``.pyi`` of the service file, for ``grpc.aio``."""
    text = STUB_HEADER
    for service in file.service:
        stub, servicer = [f"class {service.name}Stub:"], [f"class {service.name}Servicer:"]
        stub.append("    def __init__(self, channel: grpc.aio.Channel) -> None: ...")
        for method in service.method:
            asked, answer = (
                f"sandbox_pb2.{name.rpartition('.')[2]}" for name in (method.input_type, method.output_type)
            )
            kind = "UnaryStream" if method.server_streaming else "UnaryUnary"
            stub.append(f"    {method.name}: grpc.aio.{kind}MultiCallable[{asked}, {answer}]")
            prefix, result = ("", f"AsyncIterator[{answer}]") if method.server_streaming else ("async ", answer)
            context = f"grpc.aio.ServicerContext[{asked}, {answer}]"
            servicer.append(
                f"    {prefix}def {method.name}(self, request: {asked}, context: {context}) -> {result}: ..."
            )
        name = f"{service.name}Servicer"
        adder = f"def add_{name}_to_server(servicer: {name}, server: grpc.aio.Server) -> None: ..."
        text += "\n" + "\n".join(stub) + "\n\n" + "\n".join(servicer) + "\n\n" + adder + "\n"
    return text


def main() -> int:
    """Write the generated files, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a committed file differs")
    check: bool = parser.parse_args().check
    stale = {name: text for name, text in generated().items() if not _is_current(TARGET / name, text)}
    if check:
        for name in stale:
            print(f"{TARGET / name} differs from what proto/{PROTO} gives; run {Path(__file__).name}", file=sys.stderr)
        return 1 if stale else 0
    TARGET.mkdir(parents=True, exist_ok=True)
    for name, text in stale.items():
        (TARGET / name).write_text(text)
    return 0


def _is_current(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text() == text


if __name__ == "__main__":
    sys.exit(main())
