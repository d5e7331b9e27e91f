"""Pure decisions: sources, failures, progress, diffs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard_workspace.domain.diff import HEADER, bounded_patch, parse_changes
from runyard_workspace.domain.failures import classify
from runyard_workspace.domain.progress import Pace, Progress, parse_progress
from runyard_workspace.domain.sources import LocalSource, Refused, RemoteSource, parse_source


@pytest.mark.parametrize(
    ("uri", "url", "name"),
    [
        ("https://github.com/org/repo", "https://github.com/org/repo", "org/repo"),
        ("https://github.com/org/repo.git", "https://github.com/org/repo.git", "org/repo"),
        (" https://git.example.com:8443/a/b/c/ ", "https://git.example.com:8443/a/b/c/", "b/c"),
        ("ssh://git@host:22/org/repo.git", "ssh://git@host:22/org/repo.git", "org/repo"),
        ("git@github.com:org/repo.git", "git@github.com:org/repo.git", "org/repo"),
        ("git://host/org/repo", "git://host/org/repo", "org/repo"),
        ("org/repo", "https://github.com/org/repo", "org/repo"),
        ("https://[::1]:3000/o/r", "https://[::1]:3000/o/r", "o/r"),
    ],
)
def test_an_address_of_a_repository_is_accepted(uri: str, url: str, name: str) -> None:
    assert parse_source("github", uri) == RemoteSource(url, name)


@pytest.mark.parametrize(
    "uri",
    [
        "", " ", "-", "--upload-pack=touch /tmp/x", "-oProxyCommand=x", "ext::sh -c touch% /tmp/x",
        "ext::https://host/x", "fd::17", "file:///etc", "FILE:///etc/x", "ftp://host/x", "rsync://host/x",
        "javascript:alert(1)//x y", "https://", "https:///path", "https://host", "https://host/",
        "https://user:token@host/o/r", "https://token@host/o/r", "ssh://git:secret@host/o/r",
        "ssh://-oProxyCommand=x/o/r", "-host:path", "git@-host:path", "ssh://-x@host/o/r", "git@host:-path",
        "https://host/o/r?access_token=secret", "https://host/o/r#x", "https://host/o r", "https://host/o\nr",
        "https://ho\0st/o", "https://host:99999/o/r", "https://host:x/o/r", "http://-x/o/r", "https://host/-o",
        "x" * 3000, "a/b/c", "./repo", "../repo", "/abs/path", "host::x:y", "https://[::1/o/r", "C:::x",
    ],
)  # fmt: skip
def test_an_address_that_git_must_not_see_is_refused(uri: str) -> None:
    with pytest.raises(Refused) as caught:
        parse_source("git", uri)
    assert caught.value.reason == "refused_url"
    assert "secret" not in caught.value.message
    assert "token@" not in caught.value.message


def test_only_the_configured_kinds_of_address_are_accepted() -> None:
    with pytest.raises(Refused, match="https"):
        parse_source("git", "http://host/o/r", schemes=("https",))
    with pytest.raises(Refused, match="SSH"):
        parse_source("git", "git@host:o/r", schemes=("https",))


def test_a_local_repository_is_named_by_its_absolute_path() -> None:
    source = parse_source("local", "/home/ada/project")
    assert isinstance(source, LocalSource)
    assert source.display_name == "ada/project"
    assert parse_source("local", "file:///home/ada/my%20project").display_name == "ada/my project"


@pytest.mark.parametrize(
    "uri", ["project", "./x", "~/x", "/a/../b", "file://host/x", "file:///a%00b", "-x", "https://host/o/r", "/a\0"]
)
def test_other_names_of_local_repositories_are_refused(uri: str) -> None:
    with pytest.raises(Refused):
        parse_source("local", uri)


@given(st.text(max_size=60))
def test_no_text_becomes_an_option_or_a_helper(text: str) -> None:
    try:
        source = parse_source("git", text)
    except Refused:
        return
    assert isinstance(source, RemoteSource)
    assert not source.url.startswith("-")
    assert "::" not in source.url.partition("/")[0].replace("[::", "")
    assert source.url.isprintable() or not source.url.isascii()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("fatal: could not read Username for 'https://h': terminal prompts disabled", "auth_required"),
        ("fatal: unable to access 'https://h/': The requested URL returned error: 403", "auth_required"),
        ("git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.", "auth_required"),
        ("fatal: repository 'https://h/o/r/' not found", "not_found"),
        ("fatal: unable to access 'https://h/': Could not resolve host: h", "not_found"),
        ("ERROR: Repository not found.\nfatal: Could not read from remote repository.", "not_found"),
        ("fatal: unable to access 'http://h/': Operation too slow. Less than 1000 bytes/sec", "timeout"),
        ("fatal: unable to connect to h: Connection timed out", "timeout"),
        ("fatal: https://h/info/refs not valid: is this a git repository?", "not_a_repository"),
        ("error: unable to write file x: No space left on device", "disk_full"),
        ("fatal: transport 'ext' not allowed", "refused_url"),
        ("fatal: early EOF\nfatal: index-pack failed", "failed"),
        ("", "failed"),
    ],
)
def test_git_s_words_become_one_reason(said: str, reason: str) -> None:
    assert classify(said).reason == reason


def test_a_failure_does_not_show_paths_of_this_machine() -> None:
    message = classify("fatal: could not create work tree dir '/workspaces/.staging/w1.abc/repo': bad").message
    assert "/workspaces" not in message
    assert "could not create" in message


@pytest.mark.parametrize(
    ("line", "progress"),
    [
        ("Receiving objects:  45% (9/20), 1.2 MiB | 6 KiB/s", Progress("receiving", 45, "1.2 MiB | 6 KiB/s")),
        ("remote: Counting objects: 100% (7/7), done.", Progress("counting", 100, None)),
        ("remote: Enumerating objects: 12, done.", Progress("counting", None, None)),
        ("Updating files:   3% (1/30)", Progress("checking_out", 3, None)),
        ("Resolving deltas: 100% (1/1), done.", Progress("resolving", 100, None)),
        ("Cloning into '/x'...", None),
        ("warning: 10% of something", None),
        ("", None),
    ],
)  # fmt: skip
def test_progress_is_read_from_git_s_lines(line: str, progress: Progress | None) -> None:
    assert parse_progress(line) == progress


def test_progress_is_thinned_out_but_each_phase_is_told() -> None:
    pace = Pace()
    told = [
        (phase, percent)
        for second, (phase, percent) in enumerate([("receiving", n) for n in range(101)] + [("resolving", 0)])
        if pace.due(Progress(phase, percent), second / 100)
    ]
    assert told == [("receiving", 0), ("receiving", 50), ("receiving", 100), ("resolving", 0)]


def test_rows_of_a_diff_are_read_with_renames_and_odd_names() -> None:
    raw = (
        b":100644 100644 a b M\0:odd name\0:000000 100644 0 b A\0bin\0:100644 100644 a b R090\0old\0new\0"
        b":160000 160000 a b M\0lib\0"
        b"1\t2\t:odd name\0-\t-\tbin\x003\t4\t\0old\0new\x001\t1\tlib\0"
    )
    changes = {one.path: one for one in parse_changes(raw)}
    assert (changes[":odd name"].insertions, changes[":odd name"].deletions) == (1, 2)
    assert changes["bin"].binary
    assert (changes["new"].status, changes["new"].old_path, changes["new"].deletions) == ("renamed", "old", 4)
    assert changes["lib"].submodule


@given(st.integers(0, 400))
def test_rows_that_were_cut_off_are_left_out(cut: int) -> None:
    raw = b":100644 100644 a b M\0one\0:100644 100644 a b R1\0old\0new\x001\t1\tone\x001\t1\t\0old\0new\0"
    assert {one.path for one in parse_changes(raw[:cut])} <= {"one", "new"}


@given(st.lists(st.binary(max_size=30), max_size=5), st.integers(1, 200))
def test_a_bounded_patch_holds_whole_files_only(bodies: list[bytes], limit: int) -> None:
    lines = [b"+" + body.replace(b"\n", b"") + b"\n" for body in bodies]
    parts = [HEADER + b"a/x b/x\n" + line for line in lines]
    text, cut = bounded_patch(b"".join(parts), limit)
    whole = "".join(part.decode(errors="replace") for part in parts)
    assert cut == (len(b"".join(parts)) > limit)
    assert whole.startswith(text)
    if cut:
        assert text == "" or whole[len(text) :].startswith(HEADER.decode())
