"""What an uploaded skill may be: one folder, a SKILL.md, and nothing that a stranger could hide in an archive."""

import io
import stat
import warnings
import zipfile
from collections.abc import Callable, Sequence
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efferent.common.domain.refusals import InvalidRequest, Refused, TooLarge
from efferent.common.skills import package
from efferent.common.skills.package import SkillPackage, UploadedPart, read_package

SKILL_MD: Final = b"---\nname: pdf-tools\ndescription: Fills in forms.\nlicense: MIT\n---\n# How\n"


def skill_md(name: str = "pdf-tools", description: str = "Fills in forms.") -> bytes:
    return f"---\nname: {name}\ndescription: {description}\n---\nbody".encode()


def parts(*files: tuple[str, bytes]) -> list[UploadedPart]:
    return [UploadedPart(path, data) for path, data in files]


def zipped(*files: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> list[UploadedPart]:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for path, data in files:
            archive.writestr(path, data)
    return [UploadedPart("skill.zip", target.getvalue())]


def entry(path: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(path)
    info.create_system = 3
    info.external_attr = mode << 16
    return info


def contents(found: SkillPackage) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(found.archive)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def refusal(uploaded: Sequence[UploadedPart]) -> str:
    with pytest.raises(InvalidRequest) as caught:
        read_package(uploaded)
    return caught.value.message


@pytest.mark.parametrize("make", [parts, zipped])
def test_a_folder_is_taken_from_parts_and_from_a_zip(make: Callable[..., list[UploadedPart]]) -> None:
    found = read_package(make(("pdf-tools/SKILL.md", SKILL_MD), ("pdf-tools/scripts/fill.py", b"print()")))
    assert (found.name, found.description) == ("pdf-tools", "Fills in forms.")
    assert contents(found) == {"pdf-tools/SKILL.md": SKILL_MD, "pdf-tools/scripts/fill.py": b"print()"}


def test_the_same_files_make_the_same_archive_in_any_order() -> None:
    files = [("pdf-tools/SKILL.md", SKILL_MD), ("pdf-tools/a", b"1"), ("pdf-tools/b", b"2")]
    assert read_package(parts(*files)).sha256 == read_package(zipped(*reversed(files))).sha256


def test_the_archive_keeps_what_is_executable_and_nothing_else_of_the_modes() -> None:
    script = entry("pdf-tools/run.sh", stat.S_IFREG | 0o4777)
    found = read_package(zipped(("pdf-tools/SKILL.md", SKILL_MD), (script, b"#!/bin/sh")))
    with zipfile.ZipFile(io.BytesIO(found.archive)) as archive:
        modes = {info.filename: info.external_attr >> 16 for info in archive.infolist()}
    assert modes == {"pdf-tools/SKILL.md": stat.S_IFREG | 0o644, "pdf-tools/run.sh": stat.S_IFREG | 0o755}


def test_what_file_managers_add_is_left_out() -> None:
    junk = (("__MACOSX/pdf-tools/._SKILL.md", b"x"), ("pdf-tools/.DS_Store", b"x"), ("pdf-tools/", b""))
    assert list(contents(read_package(zipped(("pdf-tools/SKILL.md", SKILL_MD), *junk)))) == ["pdf-tools/SKILL.md"]


def test_a_zip_inside_a_skill_is_a_file_like_any_other() -> None:
    (inner,) = zipped(("x", b"y"))
    found = read_package(parts(("pdf-tools/SKILL.md", SKILL_MD), ("pdf-tools/data.zip", inner.data)))
    assert contents(found)["pdf-tools/data.zip"] == inner.data


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ([], "files: no file was sent"),
        (
            [("SKILL.md", SKILL_MD)],
            "files: 'SKILL.md' is neither a zip archive nor a file in a top-level folder; send one",
        ),
        ([("pdf-tools.tar.gz", b"\x1f\x8b")], "files: 'pdf-tools.tar.gz' is neither a zip archive"),
        ([("pdf-tools/SKILL.md", SKILL_MD), ("other/x", b"")], "files: all files must be in one top-level folder"),
        ([("pdf-tools/docs/SKILL.md", SKILL_MD)], "files: there is no SKILL.md at the root of the folder pdf-tools/"),
        ([("pdf-tools/skill.md", SKILL_MD)], "files: there is no SKILL.md at the root"),
        ([("other/SKILL.md", SKILL_MD)], 'files: the folder is called "other" and must be called as the skill'),
        ([("pdf-tools/SKILL.md", SKILL_MD)] * 2, "files: 'pdf-tools/SKILL.md' is there twice"),
        ([("pdf-tools/SKILL.md", SKILL_MD), ("pdf-tools/a", b""), ("pdf-tools/A", b"")], "is there twice"),
        ([("pdf-tools/SKILL.md", SKILL_MD), ("pdf-tools/a", b""), ("pdf-tools/a/b", b"")], "both a file and a folder"),
    ],
)
def test_files_that_are_not_one_skill_are_refused(files: list[tuple[str, bytes]], text: str) -> None:
    assert text in refusal(parts(*files))


@pytest.mark.parametrize(
    "path", ["pdf-tools/../../etc/passwd", "../x", "pdf-tools/..", "pdf-tools//x", "./pdf-tools/x"]
)
def test_paths_that_could_leave_the_folder_are_refused(path: str) -> None:
    assert "is not the path of a skill's file" in refusal(parts(("pdf-tools/SKILL.md", SKILL_MD), (path, b"x")))
    assert "is not the path of a skill's file" in refusal(zipped(("pdf-tools/SKILL.md", SKILL_MD), (path, b"x")))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/etc/passwd", "it is absolute"),
        ("C:/windows", "it is absolute"),
        ("pdf-tools\\x", "it has a backslash"),
        ("pdf-tools/a\nb", "it has a control character"),
        ("pdf-tools/" + "d/" * 32 + "x", "more than 32 folders deep"),
        ("pdf-tools/" + "x" * 256, "it is too long"),
        ("pdf-tools/" + "/".join(["é" * 100] * 6), "it is too long"),
        ("", "it is empty"),
    ],
)
def test_paths_that_are_no_paths_say_why(path: str, text: str) -> None:
    assert text in refusal(parts(("pdf-tools/SKILL.md", SKILL_MD), (path, b"x")))


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        (stat.S_IFLNK | 0o777, "is a link"),
        (stat.S_IFCHR | 0o600, "is a device or the like"),
        (stat.S_IFBLK | 0o600, "is a device or the like"),
        (stat.S_IFIFO | 0o600, "is a device or the like"),
        (stat.S_IFSOCK | 0o600, "is a device or the like"),
    ],
)
def test_links_and_devices_are_refused(mode: int, text: str) -> None:
    special = entry("pdf-tools/x", mode)
    assert text in refusal(zipped(("pdf-tools/SKILL.md", SKILL_MD), (special, b"/etc/passwd")))


def test_packings_other_than_plain_zip_are_refused() -> None:
    text = "is packed in a way that is not supported"
    assert text in refusal(zipped(("pdf-tools/SKILL.md", SKILL_MD), method=zipfile.ZIP_LZMA))


def test_encrypted_entries_are_refused() -> None:
    (part,) = zipped(("pdf-tools/SKILL.md", SKILL_MD))
    data = bytearray(part.data)
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    assert "is encrypted" in refusal([UploadedPart("skill.zip", bytes(data))])


def test_a_damaged_archive_is_refused() -> None:
    (part,) = zipped(("pdf-tools/SKILL.md", SKILL_MD * 50))
    for damaged in (part.data[:-30], part.data[:60] + b"\xff" * 20 + part.data[80:], b"PK\x03\x04"):
        assert "damaged or of a kind" in refusal([UploadedPart("skill.zip", damaged)])


def test_a_file_that_unpacks_to_too_many_times_its_size_is_refused() -> None:
    bomb = ("pdf-tools/zeros", bytes(2 * package.RATIO_FREE_BYTES))
    assert "unpacks to over 200 times its size" in refusal(zipped(("pdf-tools/SKILL.md", SKILL_MD), bomb))


def test_what_files_unpack_to_together_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = len(SKILL_MD) + 10
    monkeypatch.setattr(package, "UNPACKED_BYTES_MAX", limit)
    assert contents(read_package(zipped(("pdf-tools/SKILL.md", SKILL_MD), ("pdf-tools/x", b"x" * 10))))
    text = refusal(zipped(("pdf-tools/SKILL.md", SKILL_MD), ("pdf-tools/x", b"x" * 11)))
    assert text == f"files: a skill is at most {limit} bytes unpacked"


def test_the_number_of_entries_has_a_limit() -> None:
    files = [("pdf-tools/SKILL.md", SKILL_MD), *((f"pdf-tools/{number}", b"") for number in range(4_999))]
    assert len(contents(read_package(zipped(*files)))) == package.ENTRIES_MAX
    assert "more than 5000 entries" in refusal(zipped(*files, ("pdf-tools/x", b"")))
    assert "at most 5000 files" in refusal(parts(*files, ("pdf-tools/x", b"")))


def test_a_directory_of_very_many_entries_is_not_even_read() -> None:
    data = b"PK\x03\x04" + b"PK\x01\x02" * 20_001
    assert "more than 5000 entries" in refusal([UploadedPart("skill.zip", data)])


def test_an_upload_over_thirty_megabytes_is_too_large() -> None:
    rest = package.UPLOAD_BYTES_MAX - len(SKILL_MD)
    files = [("pdf-tools/SKILL.md", SKILL_MD), ("pdf-tools/x", bytes(rest))]
    assert read_package(parts(*files)).name == "pdf-tools"
    with pytest.raises(TooLarge, match="at most 31457280 bytes"):
        read_package(parts(*files, ("pdf-tools/y", b"x")))


# --- front matter -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"# no front matter", "SKILL.md: must begin with YAML between two lines of ---"),
        (b"---\nname: pdf-tools\n", "SKILL.md: must begin with YAML"),
        (b"---\nname: [\n---\n", "SKILL.md: the front matter is not valid YAML (line"),
        (b"---\n" + b"[" * 5_000 + b"\n---\n", "SKILL.md: the front matter is not valid YAML"),
        (b"---\n- a\n---\n", "SKILL.md: the front matter must be a YAML mapping"),
        (b"---\nname: \xff\n---\n", "SKILL.md: the front matter is not UTF-8"),
        (b"---\ndescription: d\n---\n", "SKILL.md: the front matter needs name, a text"),
        (b"---\nname: pdf-tools\ndescription: ' '\n---\n", "SKILL.md: the front matter needs description, a text"),
        (b"---\nname: 7\ndescription: d\n---\n", "SKILL.md: the front matter needs name, a text"),
        (skill_md(name="Pdf_Tools"), "SKILL.md: name must be 1 to 64 lower-case letters"),
        (skill_md(name="-pdf"), "SKILL.md: name must be"),
        (skill_md(name="a--b"), "SKILL.md: name must be"),
        (skill_md(name="n" * 65), "SKILL.md: name must be"),
        (skill_md(description="d" * 1_025), "SKILL.md: description must be 1 to 1024 characters long"),
        (b"---\n" + b"#" * 65_536 + b"\n" + SKILL_MD[4:], "SKILL.md: must begin with YAML"),
        (b"---\n!!python/object/apply:os.system ['true']\n---\n", "SKILL.md: the front matter is not valid YAML"),
    ],
)
def test_a_skill_file_that_says_nothing_usable_is_refused(text: bytes, message: str) -> None:
    assert refusal(parts(("pdf-tools/SKILL.md", text))).startswith(message)


def test_limits_of_name_and_description_are_met_at_the_number() -> None:
    name, description = "n" * 64, "d" * 1_024
    found = read_package(parts((f"{name}/SKILL.md", skill_md(name, description))))
    assert (found.name, found.description) == (name, description)


@pytest.mark.parametrize("text", [SKILL_MD.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + SKILL_MD, SKILL_MD[:-6].rstrip()])
def test_line_ends_and_marks_of_other_systems_are_understood(text: bytes) -> None:
    assert read_package(parts(("pdf-tools/SKILL.md", text))).description == "Fills in forms."


# --- anything at all --------------------------------------------------------------------------------------------------

SEGMENTS = st.sampled_from(["pdf-tools", "SKILL.md", "..", ".", "", "a", "A", "__MACOSX", "x\x00y", "\ud800"])
PATHS = st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join)
MODES = st.sampled_from([0, stat.S_IFREG | 0o755, stat.S_IFLNK | 0o777, stat.S_IFIFO, stat.S_IFDIR | 0o700])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(PATHS, st.sampled_from([SKILL_MD, b"", b"PK\x03\x04"])), max_size=4), st.binary(max_size=64))
def test_whatever_is_sent_is_a_skill_or_a_refusal(files: list[tuple[str, bytes]], noise: bytes) -> None:
    for uploaded in (parts(*files), [UploadedPart("x.zip", b"PK\x03\x04" + noise)]):
        try:
            found = read_package(uploaded)
        except Refused:
            continue
        assert all(path.startswith("pdf-tools/") and ".." not in path for path in contents(found))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(PATHS.filter(lambda path: "\ud800" not in path), MODES), max_size=4))
def test_whatever_an_archive_holds_it_is_a_skill_or_a_refusal(entries: list[tuple[str, int]]) -> None:
    files: list[tuple[str | zipfile.ZipInfo, bytes]] = [("pdf-tools/SKILL.md", SKILL_MD)]
    files += [(entry(path or "x", mode), b"") for path, mode in entries]
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # two entries of one name
        uploaded = zipped(*files)
    try:
        found = read_package(uploaded)
    except Refused:
        return
    assert all(path.startswith("pdf-tools/") and ".." not in path for path in contents(found))
