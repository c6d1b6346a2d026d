"""The dataset: whatever moment it ends at, each finished point stands there once."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from simulator.errors import InputError
from simulator.sweep import dataset as module
from simulator.sweep.dataset import Dataset, read_frame
from tests.sweep.sweeps import temporary

KINDS = {"point": str, "axis": float, "status": str, "cycles": int}


def row(number: int, **more: Any) -> dict[str, Any]:
    return {"point": f"{number:04}", "axis": number / 3, "status": "ok", "cycles": 2**60 + number, **more}


def opened(folder: Path, text: str = "sweep") -> Dataset:
    return Dataset(folder, KINDS, ("sweep.yaml", text), {"version": "1"})


def rows(folder: Path) -> list[dict[str, Any]]:
    return [{str(k): v for k, v in each.items()} for each in read_frame(folder).to_dict("records")]


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PER_FILE", 8)


@pytest.mark.usefixtures("small_files")
def test_rows_come_back_once_and_exactly(tmp_path: Path) -> None:
    for begin in (0, 13, 13, 29):  # three openings, one of which adds nothing
        kept = opened(tmp_path / "d")
        assert kept.finished == {f"{number:04}" for number in range(begin)} or begin == 13
        for number in range(begin, {0: 13, 13: 29, 29: 30}[begin]):
            if f"{number:04}" not in kept.finished:
                kept.add([row(number)])
        kept.close()
    assert rows(tmp_path / "d") == [row(number) for number in range(30)]
    assert pd.read_parquet(tmp_path / "d" / "points").point.is_unique
    assert temporary(tmp_path) == []
    assert not (tmp_path / "d" / "journal.jsonl").exists()


@pytest.mark.parametrize("cut", range(1, 70, 7))
def test_a_line_cut_short_is_none(cut: int, tmp_path: Path) -> None:
    kept = opened(tmp_path)
    kept.add([row(number) for number in range(3)])
    kept.abandon()
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-cut])
    assert [each["point"] for each in rows(tmp_path)] == ["0000", "0001"]
    again = opened(tmp_path)
    assert again.finished == {"0000", "0001"}
    again.add([row(2)])
    again.close()
    assert rows(tmp_path) == [row(number) for number in range(3)]


STEPS = (
    (os, "replace"),  # before a file is put in place
    (os, "ftruncate"),  # before the journal is emptied
    (Path, "unlink"),  # between the removals of files that were joined, and before the journal's
    (module, "_table"),
)


class Killed(BaseException):
    pass


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize(("owner", "name"), STEPS, ids=[name for _, name in STEPS])
@pytest.mark.parametrize("nth", range(8))
def test_killed_between_any_two_steps(
    owner: Any, name: str, nth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, count = tmp_path / "d", 0
    original = getattr(owner, name)

    def dying(*arguments: Any, **named: Any) -> Any:
        nonlocal count
        count += 1
        if count > nth:
            raise Killed
        return original(*arguments, **named)

    added: set[str] = set()
    for begin in (0, 5, 10):  # small files, so that there is something to join
        kept = None
        try:
            if begin == 10:
                with monkeypatch.context() as patch:
                    patch.setattr(owner, name, dying)
                    kept = opened(folder)
                    for number in range(begin, 27):
                        kept.add([row(number)])
                        added.add(f"{number:04}")
                    kept.close()
            else:
                kept = opened(folder)
                kept.add([row(number) for number in range(begin, begin + 5)])
                added |= {f"{number:04}" for number in range(begin, begin + 5)}
                kept.close()
        except Killed:
            if kept is not None:
                for handle in (kept._handle, kept._lock):
                    try:
                        os.close(handle)
                    except OSError:
                        continue
    assert added <= {each["point"] for each in rows(folder)}
    again = opened(folder)
    assert added <= again.finished
    again.add([row(number) for number in range(27) if f"{number:04}" not in again.finished])
    again.close()
    assert rows(folder) == [row(number) for number in range(27)]
    assert pd.read_parquet(folder / "points").point.is_unique
    assert temporary(folder) == []


@pytest.mark.usefixtures("small_files")
def test_a_full_disk_stops_with_a_sentence_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = opened(tmp_path)
    kept.add([row(0)])

    def full(handle: int, content: bytes) -> int:
        if len(content) > 90:
            return write(handle, content[:20])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(InputError, match="No space left on device; what is finished"):
            kept.add([row(1), row(2)])
    assert kept.finished == {"0000"}
    assert rows(tmp_path) == [row(0)]
    kept.add([row(1)])
    kept.close()
    assert rows(tmp_path) == [row(0), row(1)]


@pytest.mark.usefixtures("small_files")
def test_a_disk_too_full_for_a_file_keeps_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = opened(tmp_path)

    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(module, "_table", full)
        with pytest.raises(InputError, match="No space left"):
            kept.add([row(number) for number in range(9)])
        with pytest.raises(InputError, match="No space left"):
            kept.close()
    assert rows(tmp_path) == [row(number) for number in range(9)]
    opened(tmp_path).close()
    assert rows(tmp_path) == [row(number) for number in range(9)]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    kept = opened(tmp_path)
    with pytest.raises(InputError, match="another process runs this sweep now"):
        opened(tmp_path)
    kept.close()
    opened(tmp_path).close()


def test_another_sweep_is_refused(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with pytest.raises(InputError, match="already holds another sweep"):
        opened(tmp_path, "another")


def test_ended_while_the_folder_was_made(tmp_path: Path) -> None:
    (tmp_path / ".sweep.yaml.77").write_text("swe")
    (tmp_path / "made_with.json").write_text("{")
    opened(tmp_path).close()
    assert temporary(tmp_path) == []


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    kept = opened(tmp_path)
    kept.add([row(0)])
    kept.close()
    (file,) = (tmp_path / "points").glob("*.parquet")
    file.write_bytes(b"nothing")
    with pytest.raises(InputError, match="is damaged"):
        opened(tmp_path)


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("ended", [False, True])
def test_points_that_failed_are_let_go_of_and_no_other(
    ended: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of failed points alone, of some and of none, and the journal; ended in between, nothing has happened."""
    kept = opened(tmp_path / "d")
    failed = [*range(8), 9, 17]
    for number in range(20):
        kept.add([row(number, status="failed" if number in failed else "ok")])
    kept.abandon()
    if ended:
        remove = Path.unlink

        def dying(path: Path, missing_ok: bool = False) -> None:
            if path.suffix == ".parquet":
                raise KeyboardInterrupt
            remove(path, missing_ok)

        kept = opened(tmp_path / "d")
        with monkeypatch.context() as patched, suppress(KeyboardInterrupt):
            patched.setattr(Path, "unlink", dying)
            kept.forget_failed()
        kept.abandon()
    kept = opened(tmp_path / "d")
    assert kept.failed == {f"{number:04}" for number in failed}
    kept.forget_failed()
    assert kept.finished == {f"{number:04}" for number in range(20) if number not in failed}
    for number in failed:
        kept.add([row(number)])
    kept.close()
    assert rows(tmp_path / "d") == [row(number) for number in range(20)]
    assert temporary(tmp_path) == []


def test_rows_of_some_points(tmp_path: Path) -> None:
    kept = opened(tmp_path)
    kept.add([row(0), row(1)])
    kept.compact()
    kept.add([row(2, status="failed")])
    assert kept.rows_of({"0001", "0002", "none"}) == {"0001": row(1), "0002": row(2, status="failed")}
    assert kept.failed == {"0002"}
    kept.close()


def test_no_sweep(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no sweep"):
        read_frame(tmp_path)


def test_two_that_begin_at_once_do_not_both_have_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Dataset] = []

    def other_begins_first(path: Path) -> Any:
        monkeypatch.undo()
        with suppress(InputError):
            begun.append(opened(tmp_path / "d"))
        return module.writing(path)

    monkeypatch.setattr(module, "writing", other_begins_first)
    with suppress(InputError):
        begun.append(opened(tmp_path / "d"))
    assert len(begun) == 1


def test_rows_that_leave_the_journal_while_it_is_read_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = opened(tmp_path)
    kept.add([row(0)])
    journalled, frame = module.journalled, module._frame

    def then_compacted(journal: Path) -> Any:
        found = list(journalled(journal))
        kept.compact()
        return iter(found)

    monkeypatch.setattr(module, "journalled", then_compacted)
    assert rows(tmp_path) == [row(0)]
    kept.add([row(1)])

    def joined_first(file: Path) -> pd.DataFrame:
        monkeypatch.setattr(module, "_frame", frame)
        kept.close()
        return frame(file)

    monkeypatch.setattr(module, "_frame", joined_first)
    assert rows(tmp_path) == [row(0), row(1)]


@pytest.mark.parametrize("file", ["sweep.yaml", "made_with.json"])
def test_a_folder_whose_files_are_no_text_is_another_sweeps(file: str, tmp_path: Path) -> None:
    opened(tmp_path).close()
    (tmp_path / file).write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="folder of its own"):
        opened(tmp_path)


def test_a_file_damaged_in_its_footer_or_of_something_else_is_named(tmp_path: Path) -> None:
    kept = opened(tmp_path)
    kept.add([row(number) for number in range(20)])
    kept.close()
    (file,) = (tmp_path / "points").glob("*.parquet")
    content = file.read_bytes()
    file.write_bytes(content[:-300] + b"\xff" * 280 + content[-20:])
    for read in (opened, read_frame):
        with pytest.raises(InputError, match=f"{file.name}: is damaged"):
            read(tmp_path)
    pd.DataFrame({"a": [1]}).to_parquet(file)
    with pytest.raises(InputError, match=f"{file.name}: is no file of a sweep"):
        read_frame(tmp_path)
