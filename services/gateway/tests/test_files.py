"""``/v1/files`` with the official client and without: uploads, limits, lists, downloads, expiry, quotas."""

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import aiohttp
import anthropic
import orjson
import pytest

from efferent.common.blobs.local_folder import LocalFolderBlobs
from efferent.common.control.aggregates import Actor, Aggregates
from efferent.common.control.log_sets import LogSets
from efferent.common.domain.ids import SessionId, from_seed
from efferent.common.files.store import FileStore
from efferent.common.ports import Clock
from efferent.common.runtime.clock import SystemClock
from efferent.common.runtime.metrics import Metrics
from efferent.gateway.files import multipart
from efferent.gateway.files.services import FileSettings
from services.gateway.tests.gateway_rig import SEEDS, VERSION, Answer, Served, ServerAddress, serve

PARSE: Final = "Failed to parse request: "


class MovableClock(SystemClock):
    """The real clock, set forward."""

    ahead_us = 0

    def now_us(self) -> int:
        return super().now_us() + self.ahead_us


@pytest.fixture
async def small(nats_address: ServerAddress, tmp_path: Path) -> AsyncIterator[Served]:
    """A gateway with small limits."""
    limits = FileSettings(bytes_max=1_000, storage_bytes_max=2_500)
    async with serve(nats_address, tmp_path / "small", files=limits) as running:
        yield running


def form(*fields: tuple[str, str | bytes, dict[str, str]]) -> aiohttp.FormData:
    data = aiohttp.FormData(quote_fields=False, default_to_multipart=True)
    for name, value, options in fields:
        data.add_field(name, value, **options)
    return data


def file_field(data: bytes, filename: str = "a.txt", content_type: str = "text/plain") -> tuple[str, bytes, Any]:
    return "file", data, {"filename": filename, "content_type": content_type}


async def post(served: Served, body: Any, **headers: str) -> Answer:
    """An upload as no client library would send it."""
    sent = {"x-api-key": served.key, "anthropic-version": VERSION, **headers}
    async with served.http.post(f"{served.url}/v1/files", data=body, headers=sent) as response:
        return Answer(response.status, response.headers.copy(), orjson.loads(await response.read()))


async def upload(served: Served, data: bytes = b"data", **more: Any) -> dict[str, Any]:
    answer = await post(served, form(file_field(data, **more)))
    assert answer.status == 200, answer.body
    body: dict[str, Any] = answer.body
    return body


def stored(tmp_path: Path, folder: str = "data") -> list[Path]:
    """Files on the disk that hold bytes of uploads."""
    return [path for path in (tmp_path / folder / "blobs").rglob("*") if path.name == "content" and path.is_file()]


def files_of(served: Served, folder: Path, clock: Clock | None = None) -> FileStore:
    """The gateway's files, as a service beside it has them."""
    clock = clock or SystemClock()
    sets = LogSets(served.control_log)
    aggregates = Aggregates(served.control_log, sets, clock, Metrics(), write_deadline_s=5)
    return FileStore(aggregates, LocalFolderBlobs(folder / "blobs"), clock, SEEDS)


async def output(served: Served, tmp_path: Path, session_id: str, filename: str, data: bytes) -> str:
    """What an agent would have made in a session."""

    async def chunks() -> AsyncIterator[bytes]:
        yield data

    store = files_of(served, tmp_path / "data")
    return (await store.add_output(Actor(served.workspace_id), SessionId(session_id), filename, chunks())).id


# --- happy path -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flavour", ["beta", "plain"])
async def test_the_official_client_uploads_lists_and_deletes(served: Served, flavour: str) -> None:
    sdk = served.sdk()
    files: Any = sdk.beta.files if flavour == "beta" else sdk.files
    made = await files.upload(file=("folder/data.csv", b"a,b\n1,2\n", "text/csv"), expires_in_seconds=3_600)
    assert (made.filename, made.mime_type, made.size_bytes, made.type) == ("data.csv", "text/csv", 8, "file")
    assert made.downloadable is False
    assert (made.expires_at - made.created_at).total_seconds() == 3_600
    assert await files.retrieve_metadata(made.id) == made
    assert [file.id async for file in files.list()] == [made.id]
    deleted = await files.delete(made.id)
    assert (deleted.id, deleted.type) == (made.id, "file_deleted")
    with pytest.raises(anthropic.NotFoundError):
        await files.retrieve_metadata(made.id)
    assert [file.id async for file in files.list()] == []


async def test_every_field_is_there(served: Served) -> None:
    made = await upload(served)
    assert made.pop("id").startswith("file_")
    assert made.pop("created_at")
    assert made == {
        "type": "file",
        "filename": "a.txt",
        "mime_type": "text/plain",
        "size_bytes": 4,
        "downloadable": False,
        "expires_at": None,
        "scope": None,
    }


async def test_a_deleted_file_leaves_nothing_on_the_disk(served: Served, tmp_path: Path) -> None:
    made = await upload(served, b"secret bytes")
    assert [path.read_bytes() for path in stored(tmp_path)] == [b"secret bytes"]
    await served.call("DELETE", f"/v1/files/{made['id']}")
    assert stored(tmp_path) == []


async def test_fields_may_come_in_any_order_and_a_client_may_send_in_chunks(served: Served) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="expires_in_seconds"\r\n\r\n36'
        yield b'00\r\n--b\r\nContent-Disposition: form-data; name="file"; filename="x.txt"\r\n\r\n'
        for _ in range(3):
            yield b"\r\n--" * 40_000  # what looks like a boundary, and is none
        yield b"\r\n--b--\r\n"

    answer = await post(served, body(), **{"Content-Type": FORM})
    assert answer.status == 200, answer.body
    assert (answer.body["size_bytes"], answer.body["mime_type"]) == (480_000, "text/plain")
    assert answer.body["expires_at"] is not None


# --- lists ------------------------------------------------------------------------------------------------------------


async def test_files_are_listed_newest_first_page_by_page(served: Served) -> None:
    made = [(await upload(served, filename=f"{number}.txt"))["id"] for number in range(5)]
    sdk = served.sdk()
    first = await sdk.beta.files.list(limit=2)
    assert [file.id for file in first.data] == made[:2:-1]
    assert first.next_page is not None
    assert first.next_page.startswith("page_")
    assert [file.id async for file in sdk.beta.files.list(limit=2)] == made[::-1]


async def test_a_list_of_ids_is_one_page_without_those_that_are_unknown(served: Served) -> None:
    made = [(await upload(served))["id"] for _ in range(3)]
    sdk = served.sdk()
    wanted = [made[0], made[2], made[0], "file_unknown", "nonsense"]
    assert [file.id async for file in sdk.beta.files.list(ids=wanted)] == [made[2], made[0]]
    many = [f"file_{number:024d}" for number in range(100)]
    assert [file.id async for file in sdk.beta.files.list(ids=many)] == []
    with pytest.raises(anthropic.BadRequestError, match="ids: at most 100 ids are allowed"):
        await sdk.beta.files.list(ids=[*many, "file_one_more"])
    for other in ("limit=5", "page=page_x"):
        answer = await served.call("GET", f"/v1/files?ids[]={made[0]}&{other}")
        assert answer.error[:2] == (400, "invalid_request_error")
        assert "cannot be combined with ids" in answer.error[2]


@pytest.mark.parametrize(
    ("query", "status"), [("limit=1", 200), ("limit=1000", 200), ("limit=0", 400), ("limit=1001", 400), ("page=x", 400)]
)
async def test_limit_and_page_are_checked(served: Served, query: str, status: int) -> None:
    assert (await served.call("GET", f"/v1/files?{query}")).status == status


async def test_a_session_lists_its_copies_and_outputs_and_nothing_else(served: Served, tmp_path: Path) -> None:
    sdk, session_id = served.sdk(), SessionId(from_seed("sesn_", SEEDS.seed()))
    made = await upload(served, b"input")
    store = files_of(served, tmp_path / "data")
    copy = await store.copy_for_session(Actor(served.workspace_id), made["id"], session_id)
    out = await output(served, tmp_path, session_id, "outputs/report.md", b"# made")
    listed = [file async for file in sdk.beta.files.list(scope_id=session_id)]
    assert [(file.id, file.downloadable, file.filename) for file in listed] == [
        (out, True, "report.md"),
        (copy.id, False, "a.txt"),
    ]
    assert all(file.scope is not None and file.scope.id == session_id for file in listed)
    other = f"session_{session_id.removeprefix('sesn_')}"
    assert [file.id async for file in sdk.beta.files.list(scope_id=other)] == [out, copy.id]
    assert [file.id async for file in sdk.beta.files.list(scope_id="sesn_unknown")] == []
    answer = await served.call("GET", "/v1/files?scope_id=agent_x")
    assert answer.error == (400, "invalid_request_error", "scope_id: not the id of a session")


async def test_clients_of_the_first_files_beta_page_by_id_both_ways(served: Served, tmp_path: Path) -> None:
    made = [(await upload(served))["id"] for _ in range(5)][::-1]
    older = {"anthropic-beta": "files-api-2025-04-14"}

    async def page(query: str) -> tuple[list[str], bool, str | None]:
        body = (await served.call("GET", f"/v1/files?limit=2{query}", headers=older)).body
        shown = [file["id"] for file in body["data"]]
        assert (body["first_id"], body["last_id"]) == ((shown[0], shown[-1]) if shown else (None, None))
        return shown, body["has_more"], body["next_page"]

    first, has_more, cursor = await page("")
    assert (first, has_more) == (made[:2], True)
    assert (await page(f"&after_id={made[1]}"))[:2] == (made[2:4], True)
    assert await page(f"&after_id={made[3]}") == (made[4:], False, None)
    assert await page(f"&after_id={made[4]}") == ([], False, None)
    assert await page(f"&before_id={made[4]}") == (made[2:4], True, None)
    assert await page(f"&before_id={made[2]}") == (made[:2], False, None)
    assert (await page(f"&page={cursor}"))[0] == made[2:4]
    now = await served.call("GET", f"/v1/files?limit=2&after_id={made[3]}", headers={"anthropic-beta": None})
    assert (set(now.body), now.body["data"][0]["id"]) == ({"data", "next_page"}, made[0])


async def test_a_file_that_an_older_client_goes_on_behind_must_be_in_the_list(served: Served, tmp_path: Path) -> None:
    made, scoped = await upload(served), await output(served, tmp_path, "sesn_a", "x", b"x")
    older = {"anthropic-beta": "files-api-2025-04-14"}
    text = "is no file"
    for query in ("after_id=file_nothing", "before_id=x", f"scope_id=sesn_a&after_id={made['id']}"):
        refused = await served.call("GET", f"/v1/files?{query}", headers=older)
        assert refused.error[:2] == (400, "invalid_request_error")
        assert text in refused.error[2]
    both = await served.call("GET", f"/v1/files?after_id={scoped}&before_id={made['id']}", headers=older)
    assert both.error[2] == "after_id: only one of after_id and before_id may be given"


# --- downloads --------------------------------------------------------------------------------------------------------


async def test_what_an_agent_made_is_downloaded_as_it_is(served: Served, tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000
    out = await output(served, tmp_path, "sesn_a", "žluť.html", data)
    content = await served.sdk().beta.files.download(out)
    assert await content.read() == data
    answer = await served.call("GET", f"/v1/files/{out}/content")
    assert answer.headers["Content-Type"] == "text/html"
    assert answer.headers["Content-Length"] == str(len(data))
    assert answer.headers["Content-Disposition"] == "attachment; filename*=UTF-8''%C5%BElu%C5%A5.html"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer.headers["Content-Security-Policy"]


async def test_an_upload_is_not_downloadable(served: Served) -> None:
    made = await upload(served)
    answer = await served.call("GET", f"/v1/files/{made['id']}/content")
    assert answer.error == (400, "invalid_request_error", f"File '{made['id']}' is not downloadable")
    assert answer.body["error"]["details"] == {"error_code": "file_not_downloadable"}


async def test_a_head_tells_the_size_and_sends_nothing(served: Served, tmp_path: Path) -> None:
    out = await output(served, tmp_path, "sesn_a", "x", b"x" * 3_000_000)
    head = await served.call("HEAD", f"/v1/files/{out}/content")
    assert (head.status, head.headers["Content-Length"], head.body) == (200, "3000000", b"")
    assert len((await served.call("GET", f"/v1/files/{out}/content")).body) == 3_000_000


async def test_a_client_that_leaves_a_download_is_no_defect(
    served: Served, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="efferent.access")
    out = await output(served, tmp_path, "sesn_a", "x", b"x" * 40_000_000)
    reader, writer = await asyncio.open_connection("127.0.0.1", served.gateway.port)
    head = f"GET /v1/files/{out}/content HTTP/1.1\r\nHost: x\r\nx-api-key: {served.key}\r\n"
    writer.write(f"{head}anthropic-version: {VERSION}\r\n\r\n".encode())
    assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    writer.transport.abort()
    await _until(lambda: any("/content" in str(getattr(record, "route", "")) for record in caplog.records))
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


async def test_bytes_that_are_just_being_deleted_are_not_found(served: Served, tmp_path: Path) -> None:
    out = await output(served, tmp_path, "sesn_a", "x", b"x")
    for path in stored(tmp_path):
        path.unlink()
    assert (await served.call("GET", f"/v1/files/{out}/content")).error == (404, "not_found_error", "File not found.")


# --- refusals ---------------------------------------------------------------------------------------------------------


async def test_files_of_another_workspace_are_not_there(served: Served, tmp_path: Path) -> None:
    made, out = await upload(served), await output(served, tmp_path, "sesn_a", "x", b"x")
    _, other = await served.new_workspace()
    foreign = {"x-api-key": other}
    for method, path in (
        ("GET", f"/v1/files/{made['id']}"),
        ("GET", f"/v1/files/{out}/content"),
        ("DELETE", f"/v1/files/{made['id']}"),
    ):
        assert (await served.call(method, path, headers=foreign)).error == (404, "not_found_error", "File not found.")
    for query in ("", f"?ids[]={made['id']}", "?scope_id=sesn_a"):
        assert (await served.call("GET", f"/v1/files{query}", headers=foreign)).body["data"] == []


@pytest.mark.parametrize(("file_id", "error"), [("x", (400, "Invalid file ID.")), ("file_x", (404, "File not found."))])
async def test_malformed_ids_are_400_and_unknown_ones_404(served: Served, file_id: str, error: tuple[int, str]) -> None:
    for method, suffix in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        status, _, message = (await served.call(method, f"/v1/files/{file_id}{suffix}")).error
        assert (status, message) == error


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([("expires_in_seconds", "3600", {})], f"{PARSE}file: field is required"),
        ([file_field(b"1"), file_field(b"2")], f"{PARSE}file: given more than once"),
        ([file_field(b"1"), ("purpose", "x", {})], f"{PARSE}purpose: unknown field"),
        ([file_field(b"1"), ("expires_in_seconds", "soon", {})], f'{PARSE}expires_in_seconds: "soon" is not a valid'),
        ([file_field(b"1"), ("expires_in_seconds", "3599", {})], "expires_in_seconds: must be between 3600 and"),
        ([file_field(b"1"), ("expires_in_seconds", "7776001", {})], "expires_in_seconds: must be between 3600 and"),
        ([file_field(b"1", filename="a?b")], "file: the filename must not contain"),
        ([file_field(b"1", filename="a/..")], 'file: the filename must not be ".."'),
        ([file_field(b"1", filename="n" * 256)], "file: the filename must be at most 255 characters long"),
    ],
)
async def test_a_form_that_is_wrong_is_refused_and_leaves_nothing(
    served: Served, tmp_path: Path, fields: list[Any], message: str
) -> None:
    status, kind, text = (await post(served, form(*fields))).error
    assert (status, kind) == (400, "invalid_request_error")
    assert text.startswith(message)
    assert stored(tmp_path) == []


@pytest.mark.parametrize("seconds", ["3600", "7776000"])
async def test_expiry_limits_are_met_at_the_number(served: Served, seconds: str) -> None:
    assert (await post(served, form(file_field(b"1"), ("expires_in_seconds", seconds, {})))).status == 200


FORM: Final = "multipart/form-data; boundary=b"
FILE_HEAD: Final = b'--b\r\nContent-Disposition: form-data; name="file"\r\n'


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"{}", "application/json"),
        (b"x", "multipart/form-data"),
        (b"no boundary here", FORM),
        (b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n", FORM),
        (FILE_HEAD + b"\r\ncut off", FORM),
        (b"--b\r\n" + b"x" * 100_000, FORM),
        (b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c--\r\n--b--\r\n", FORM),
        (FILE_HEAD + b"Content-Transfer-Encoding: base64\r\n\r\neA==\r\n--b--", FORM),
        (b"--b\r\n\r\n\r\n" * 3, f"multipart/form-data; boundary={'b' * 71}"),
    ],
)
async def test_a_body_that_is_no_form_is_refused(
    served: Served, tmp_path: Path, body: bytes, content_type: str
) -> None:
    status, kind, text = (await post(served, body, **{"Content-Type": content_type})).error
    assert (status, kind) == (400, "invalid_request_error")
    assert text.startswith((PARSE, "The request body could not be read"))
    assert stored(tmp_path) == []


async def test_the_largest_file_is_taken_and_one_byte_more_is_not(small: Served, tmp_path: Path) -> None:
    assert (await upload(small, b"x" * 1_000))["size_bytes"] == 1_000
    too_large = (413, "request_too_large", "file: larger than 1000 bytes")
    assert (await post(small, form(file_field(b"x" * 1_001)))).error == too_large
    refused_unread = io.BytesIO(b"x" * 2_000_000)
    answer = await post(small, refused_unread, **{"Content-Type": FORM})
    assert answer.error == too_large

    async def endless() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
        for _ in range(100):
            yield b"x" * 10_000

    assert (await post(small, endless(), **{"Content-Type": FORM})).error == too_large
    assert len(stored(tmp_path, "small")) == 1


async def test_a_full_workspace_takes_no_more_until_something_is_deleted(small: Served, tmp_path: Path) -> None:
    first = await upload(small, b"x" * 1_000)
    await upload(small, b"x" * 1_000)
    await upload(small, b"x" * 500)
    answer = await post(small, form(file_field(b"x")))
    assert answer.error[:2] == (400, "invalid_request_error")
    assert answer.body["error"]["details"] == {"error_code": "storage_quota_exceeded"}
    assert "take 2500 of 2500 bytes" in answer.error[2]
    assert len(stored(tmp_path, "small")) == 3
    store = files_of(small, tmp_path / "small")
    await store.copy_for_session(Actor(small.workspace_id), first["id"], SessionId("sesn_a"))  # takes no storage
    await small.call("DELETE", f"/v1/files/{first['id']}")
    assert (await upload(small, b"x" * 1_000))["size_bytes"] == 1_000


async def test_uploads_at_once_through_two_gateways_stay_within_the_room(
    small: Served, nats_address: ServerAddress, tmp_path: Path
) -> None:
    limits = FileSettings(bytes_max=1_000, storage_bytes_max=2_500)
    async with serve(nats_address, tmp_path / "second", files=limits) as second:
        other = replace(second, key=small.key)
        sent = [post(served, form(file_field(b"x" * 500))) for served in (small, other) for _ in range(4)]
        answers = await asyncio.gather(*sent)
        assert sorted(answer.status for answer in answers) == [200] * 5 + [400] * 3
        codes = {answer.body["error"]["details"]["error_code"] for answer in answers if answer.status == 400}
        assert codes == {"storage_quota_exceeded"}
    assert len([*stored(tmp_path, "small"), *stored(tmp_path, "second")]) == 5


async def test_a_file_expires_for_every_route(nats_address: ServerAddress, tmp_path: Path) -> None:
    clock = MovableClock()
    async with serve(nats_address, tmp_path / "data", clock=clock) as served:
        answer = await post(served, form(file_field(b"1"), ("expires_in_seconds", "3600", {})))
        file_id = answer.body["id"]
        kept = await upload(served)
        clock.ahead_us = 3_601 * 1_000_000
        for swept in (False, True):
            if swept:
                await files_of(served, tmp_path / "data", clock).expire(served.workspace_id, file_id)
            for method, suffix in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
                gone = await served.call(method, f"/v1/files/{file_id}{suffix}")
                assert gone.error == (404, "not_found_error", f"File '{file_id}' has expired.")
                assert gone.body["error"]["details"] == {"error_code": "file_expired"}
            for query in ("", f"?ids[]={file_id}&ids[]={kept['id']}"):
                listed = (await served.call("GET", f"/v1/files{query}")).body["data"]
                assert [file["id"] for file in listed] == [kept["id"]]
        assert len(stored(tmp_path)) == 1


async def test_a_client_that_goes_away_leaves_nothing(served: Served, tmp_path: Path) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.gateway.port)
    head = (
        f"POST /v1/files HTTP/1.1\r\nHost: x\r\nx-api-key: {served.key}\r\nanthropic-version: {VERSION}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 9000000\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
    )
    writer.write(head.encode() + b"x" * 3_000_000)
    await writer.drain()
    drafts = tmp_path / "data" / "blobs" / ".drafts"
    await _until(lambda: drafts.is_dir() and any(drafts.iterdir()))
    writer.close()
    await _until(lambda: not any(drafts.iterdir()))
    assert stored(tmp_path) == []
    assert await reader.read() == b""


async def test_a_client_that_falls_silent_is_answered(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multipart, "SILENCE_MAX_S", 0.05)

    async def stops() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\nhello'
        await asyncio.Event().wait()

    answer = await post(served, stops(), **{"Content-Type": FORM})
    assert answer.error[:2] == (400, "invalid_request_error")
    assert answer.body["error"]["details"] == {"error_code": "request_body_timeout"}


@pytest.mark.parametrize(
    ("beta", "status"),
    [(None, 200), ("files-api-2025-04-14", 200), ("managed-agents-2026-04-01", 200), ("files-api-1999-01-01", 400)],
)
async def test_beta_headers_are_not_needed_and_unknown_ones_are_refused(
    served: Served, beta: str | None, status: int
) -> None:
    answer = await served.call("GET", "/v1/files", headers={"anthropic-beta": beta})
    assert answer.status == status
    if status == 400:
        assert answer.error[2].startswith("Unexpected value(s) `files-api-1999-01-01`")


async def _until(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - the disk tells nobody what happens to it
            await asyncio.sleep(0.01)
