"""The folder that a sandbox sees as /etc."""

from pathlib import Path

from efferent.hands.adapters.system_files import assemble


def test_only_what_is_listed_is_taken_from_the_host(tmp_path: Path) -> None:
    host = tmp_path / "host"
    (host / "alternatives").mkdir(parents=True)
    (host / "alternatives" / "awk").symlink_to("/usr/bin/gawk")
    (host / "passwd").write_text("alice:x:1:1::/:/bin/sh\n")
    (host / "shadow").write_text("secret")
    (host / "localtime").symlink_to("/usr/share/zoneinfo/UTC")
    (host / "ld.so.cache").write_bytes(b"cache")
    (host / "ld.so.cache").chmod(0o600)
    etc = tmp_path / "etc"
    for _ in range(2):
        assemble(etc, host)
    assert (etc / "alternatives" / "awk").is_symlink()
    assert (etc / "localtime").is_symlink()
    assert (etc / "ld.so.cache").stat().st_mode & 0o777 == 0o644
    assert "alice" not in (etc / "passwd").read_text()
    assert not (etc / "shadow").exists()
    assert not (tmp_path / "etc.new").exists()


def test_host_with_nothing_to_copy_still_gives_a_folder(tmp_path: Path) -> None:
    assemble(tmp_path / "etc", tmp_path / "missing")
    assert "agent:x:1000" in (tmp_path / "etc" / "passwd").read_text()
