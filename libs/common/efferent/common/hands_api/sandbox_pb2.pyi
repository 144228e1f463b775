from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExecuteRequest(_message.Message):
    __slots__ = ("session_id", "call_id", "tool", "input_json", "placement")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    TOOL_FIELD_NUMBER: _ClassVar[int]
    INPUT_JSON_FIELD_NUMBER: _ClassVar[int]
    PLACEMENT_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    call_id: str
    tool: str
    input_json: str
    placement: str
    def __init__(self, session_id: _Optional[str] = ..., call_id: _Optional[str] = ..., tool: _Optional[str] = ..., input_json: _Optional[str] = ..., placement: _Optional[str] = ...) -> None: ...

class ExecuteEvent(_message.Message):
    __slots__ = ("output", "result")
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    output: OutputChunk
    result: CallResult
    def __init__(self, output: _Optional[_Union[OutputChunk, _Mapping]] = ..., result: _Optional[_Union[CallResult, _Mapping]] = ...) -> None: ...

class OutputChunk(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class CallResult(_message.Message):
    __slots__ = ("content_json", "is_error")
    CONTENT_JSON_FIELD_NUMBER: _ClassVar[int]
    IS_ERROR_FIELD_NUMBER: _ClassVar[int]
    content_json: str
    is_error: bool
    def __init__(self, content_json: _Optional[str] = ..., is_error: _Optional[bool] = ...) -> None: ...

class PrepareRequest(_message.Message):
    __slots__ = ("session_id", "placement", "files", "skills", "stores")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    PLACEMENT_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    SKILLS_FIELD_NUMBER: _ClassVar[int]
    STORES_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    placement: str
    files: _containers.RepeatedCompositeFieldContainer[PlacedFile]
    skills: _containers.RepeatedCompositeFieldContainer[PlacedSkill]
    stores: _containers.RepeatedCompositeFieldContainer[PlacedStore]
    def __init__(self, session_id: _Optional[str] = ..., placement: _Optional[str] = ..., files: _Optional[_Iterable[_Union[PlacedFile, _Mapping]]] = ..., skills: _Optional[_Iterable[_Union[PlacedSkill, _Mapping]]] = ..., stores: _Optional[_Iterable[_Union[PlacedStore, _Mapping]]] = ...) -> None: ...

class PlacedFile(_message.Message):
    __slots__ = ("path", "blob_key", "size_bytes")
    PATH_FIELD_NUMBER: _ClassVar[int]
    BLOB_KEY_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    path: str
    blob_key: str
    size_bytes: int
    def __init__(self, path: _Optional[str] = ..., blob_key: _Optional[str] = ..., size_bytes: _Optional[int] = ...) -> None: ...

class PlacedSkill(_message.Message):
    __slots__ = ("name", "blob_key")
    NAME_FIELD_NUMBER: _ClassVar[int]
    BLOB_KEY_FIELD_NUMBER: _ClassVar[int]
    name: str
    blob_key: str
    def __init__(self, name: _Optional[str] = ..., blob_key: _Optional[str] = ...) -> None: ...

class PlacedStore(_message.Message):
    __slots__ = ("path", "read_only", "memories")
    PATH_FIELD_NUMBER: _ClassVar[int]
    READ_ONLY_FIELD_NUMBER: _ClassVar[int]
    MEMORIES_FIELD_NUMBER: _ClassVar[int]
    path: str
    read_only: bool
    memories: _containers.RepeatedCompositeFieldContainer[PlacedMemory]
    def __init__(self, path: _Optional[str] = ..., read_only: _Optional[bool] = ..., memories: _Optional[_Iterable[_Union[PlacedMemory, _Mapping]]] = ...) -> None: ...

class PlacedMemory(_message.Message):
    __slots__ = ("path", "blob_key", "content_sha256")
    PATH_FIELD_NUMBER: _ClassVar[int]
    BLOB_KEY_FIELD_NUMBER: _ClassVar[int]
    CONTENT_SHA256_FIELD_NUMBER: _ClassVar[int]
    path: str
    blob_key: str
    content_sha256: str
    def __init__(self, path: _Optional[str] = ..., blob_key: _Optional[str] = ..., content_sha256: _Optional[str] = ...) -> None: ...

class PrepareResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CollectRequest(_message.Message):
    __slots__ = ("session_id",)
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    def __init__(self, session_id: _Optional[str] = ...) -> None: ...

class CollectResponse(_message.Message):
    __slots__ = ("outputs", "memories", "more")
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    MEMORIES_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    outputs: _containers.RepeatedCompositeFieldContainer[Output]
    memories: _containers.RepeatedCompositeFieldContainer[MemoryChange]
    more: bool
    def __init__(self, outputs: _Optional[_Iterable[_Union[Output, _Mapping]]] = ..., memories: _Optional[_Iterable[_Union[MemoryChange, _Mapping]]] = ..., more: _Optional[bool] = ...) -> None: ...

class Output(_message.Message):
    __slots__ = ("path", "stamp", "size_bytes")
    PATH_FIELD_NUMBER: _ClassVar[int]
    STAMP_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    path: str
    stamp: str
    size_bytes: int
    def __init__(self, path: _Optional[str] = ..., stamp: _Optional[str] = ..., size_bytes: _Optional[int] = ...) -> None: ...

class MemoryChange(_message.Message):
    __slots__ = ("store_path", "path", "base_sha256", "written", "deleted")
    STORE_PATH_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    BASE_SHA256_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    store_path: str
    path: str
    base_sha256: str
    written: bytes
    deleted: bool
    def __init__(self, store_path: _Optional[str] = ..., path: _Optional[str] = ..., base_sha256: _Optional[str] = ..., written: _Optional[bytes] = ..., deleted: _Optional[bool] = ...) -> None: ...

class ReadOutputRequest(_message.Message):
    __slots__ = ("session_id", "path", "stamp")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    STAMP_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    path: str
    stamp: str
    def __init__(self, session_id: _Optional[str] = ..., path: _Optional[str] = ..., stamp: _Optional[str] = ...) -> None: ...

class SettleRequest(_message.Message):
    __slots__ = ("session_id", "outputs")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    outputs: _containers.RepeatedCompositeFieldContainer[Output]
    def __init__(self, session_id: _Optional[str] = ..., outputs: _Optional[_Iterable[_Union[Output, _Mapping]]] = ...) -> None: ...

class SettleResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CancelRequest(_message.Message):
    __slots__ = ("session_id", "call_id")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    call_id: str
    def __init__(self, session_id: _Optional[str] = ..., call_id: _Optional[str] = ...) -> None: ...

class CancelResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReleaseRequest(_message.Message):
    __slots__ = ("session_id",)
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    def __init__(self, session_id: _Optional[str] = ...) -> None: ...

class ReleaseResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CheckRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CheckResponse(_message.Message):
    __slots__ = ("ready", "reason", "backend")
    READY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    ready: bool
    reason: str
    backend: str
    def __init__(self, ready: _Optional[bool] = ..., reason: _Optional[str] = ..., backend: _Optional[str] = ...) -> None: ...
