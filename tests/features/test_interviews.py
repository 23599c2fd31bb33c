"""Which files are interviews, and every fault of those that are not."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from emoclip_clinical.features.interview_tables import table_warnings
from emoclip_clinical.features.interviews import find_interviews, interview_key
from emoclip_clinical.records import InputError, InterviewKey


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def names(paths):
    return [interview.key.name for interview in find_interviews(paths)]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("sub-01", InterviewKey("sub-01")),
        ("sub-01_ses-a_run-2_camera1", InterviewKey("sub-01", "ses-a", 2)),
        ("sub-01_task-panss_run-02_video", InterviewKey("sub-01", "", 2)),
        ("sub-A.b_anything goes", InterviewKey("sub-A.b")),
    ],
)
def test_names(name, key):
    assert interview_key(name) == key


@pytest.mark.parametrize(
    "name",
    ["01", "sub-", "sub-0 1", "sub-1_run-x", "sub-1_run-0", "sub-1_ses-1_ses-2", "sub-1_ses-"],
)
def test_names_that_do_not_fit(name):
    with pytest.raises(InputError):
        interview_key(name)


def test_folders_are_searched_in_any_depth_and_companions_left_alone(tmp_path):
    touch(
        tmp_path,
        "sub-02.MP4",
        "deep/er/sub-01_ses-2_run-1.mov",
        "deep/sub-01_ses-1.flv",
        "sub-02.json",
        "notes.txt",
        "table.csv",
        ".hidden/sub-09.mp4",
        "._sub-02.MP4",
    )
    assert names([tmp_path]) == ["sub-01_ses-1", "sub-01_ses-2_run-1", "sub-02"]
    assert names([tmp_path / "sub-02.MP4"]) == ["sub-02"]
    # The same path twice is one request.
    assert names([tmp_path, f"{tmp_path}/"]) == names([tmp_path])


def test_every_file_that_does_not_fit_is_listed(tmp_path):
    touch(tmp_path, "sub-01.mp4", "patient7.mp4", "sub-02.wav", "sub-03.xyz", "sub-04_run-x.avi")
    with pytest.raises(InputError) as caught:
        find_interviews([tmp_path])
    text = str(caught.value)
    for name in ("patient7.mp4", "sub-02.wav", "sub-03.xyz", "sub-04_run-x.avi"):
        assert name in text
    assert "sub-01.mp4" not in text


def test_faults_of_all_paths_come_together(tmp_path):
    (tmp_path / "empty").mkdir()
    touch(tmp_path, "sound/sub-01.mp3")
    with pytest.raises(InputError) as caught:
        find_interviews([tmp_path / "absent", tmp_path / "empty", tmp_path / "sound"])
    text = str(caught.value)
    assert "no such file or folder" in text
    assert "no video in the folder" in text
    assert "sound file" in text


def test_one_interview_in_two_files_is_refused(tmp_path):
    touch(tmp_path, "sub-01.mp4", "b/sub-01_front.mov", "sub-x.mp4", "sub-X.avi")
    with pytest.raises(InputError) as caught:
        find_interviews([tmp_path])
    assert len(caught.value.faults) == 2


def test_table(tmp_path):
    touch(tmp_path, "videos/a.mp4", "videos/b.mp4")
    table = tmp_path / "interviews.csv"
    table.write_text(
        "\ufeffpath;participant_id;session_id;run;start_seconds;stop_seconds;patient;age\n"
        "videos/a.mp4;007;1;;n/a;;;33\n"
        f"{tmp_path}/videos/b.mp4;sub-007;ses-1;2;1.5;60;largest;33\n",
        encoding="utf-8",
    )
    first, second = find_interviews([table])
    assert first.key == InterviewKey("sub-007", "ses-1")
    assert first.path == tmp_path / "videos" / "a.mp4"
    assert (first.start_seconds, first.stop_seconds) == (None, None)
    assert second.key == InterviewKey("sub-007", "ses-1", 2)
    assert (second.start_seconds, second.stop_seconds) == (1.5, 60.0)


def test_every_fault_of_a_table_is_listed_with_its_row(tmp_path):
    touch(tmp_path, "a.mp4")
    table = tmp_path / "interviews.csv"
    table.write_text(
        "path,participant_id,run,start_seconds,stop_seconds,patient\n"
        "a.mp4,0 1,,,,\n"
        "absent.mp4,02,x,,,\n"
        "a.mp4,03,,5,5,\n"
        "a.mp4,04,,soon,,front\n"
    )
    with pytest.raises(InputError) as caught:
        find_interviews([table])
    text = str(caught.value)
    for part in (
        "row 2",
        "absent.mp4 (row 3",
        "run must be",
        "before stop_seconds, got 5 and 5 (row 4",
        "'soon' (row 5",
        "got 'front' (row 5",
    ):
        assert part in text
    table.write_text("path,participant_id\na.mp4,01\na.mp4,sub-01\n")
    with pytest.raises(InputError, match=r"sub-01 stands more than once: row 2 .*, row 3"):
        find_interviews([table])


def test_table_without_its_columns(tmp_path):
    table = tmp_path / "interviews.csv"
    table.write_text("file,subject\na.mp4,01\n")
    with pytest.raises(InputError) as caught:
        find_interviews([table])
    assert len(caught.value.faults) == 2


def test_a_folder_with_a_table_is_read_by_it(tmp_path):
    touch(tmp_path, "sub-01.mp4", "deep/sub-02.mp4", "notes.txt")
    table = tmp_path / "interviews.csv"
    table.write_text(
        "path,participant_id,patient,start_seconds\nsub-01.mp4,01,left,2\ndeep/sub-02.mp4,02,,\n"
    )
    assert find_interviews([tmp_path]) == find_interviews([table])
    first, _ = find_interviews([tmp_path])
    assert (first.patient, first.start_seconds) == ("left", 2.0)
    touch(tmp_path, "sub-03.mp4")
    with pytest.raises(InputError) as caught:
        find_interviews([tmp_path])
    assert "sub-03.mp4" in caught.value.faults[0]
    assert "sub-01.mp4" not in str(caught.value)
    assert f"pass {table} itself" in str(caught.value)
    assert names([table]) == ["sub-01", "sub-02"]


def test_links_are_followed_and_never_in_a_circle(tmp_path):
    elsewhere = touch(tmp_path / "disk", "site/sub-02.mp4")
    folder = touch(tmp_path / "interviews", "sub-01.mp4")
    (folder / "linked").symlink_to(elsewhere / "site", target_is_directory=True)
    (elsewhere / "site" / "back").symlink_to(folder, target_is_directory=True)
    assert names([folder]) == ["sub-01", "sub-02"]


def test_a_folder_that_can_not_be_read_is_a_fault(tmp_path, monkeypatch):
    touch(tmp_path, "sub-01.mp4", "site/sub-02.mp4", "other.mp4")
    real = os.scandir

    def scandir(path):
        if os.fspath(path).endswith("site"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(InputError) as caught:
        find_interviews([tmp_path])
    assert "site: a folder that can not be read (Permission denied)" in caught.value.faults
    assert "other.mp4" in str(caught.value)


def test_empty_cells_hide_no_other_fault(tmp_path):
    touch(tmp_path, "a.mp4")
    table = tmp_path / "interviews.csv"
    table.write_text(
        "path,participant_id,run,patient\n,01,,\na.mp4,,,front\nabsent.mp4,03,x,\n,,y,\n"
    )
    with pytest.raises(InputError) as caught:
        find_interviews([table])
    text = str(caught.value)
    for part in (
        "path is empty (row 2",
        "path is empty (row 5",
        "participant_id is empty (row 3",
        "participant_id is empty (row 5",
        "got 'front' (row 3",
        "absent.mp4 (row 4",
        "got 'x' (row 4",
        "got 'y' (row 5",
    ):
        assert part in text
    assert len(caught.value.faults) == 8


def test_columns_that_are_nearly_known_are_named(tmp_path):
    touch(tmp_path, "a.mp4")
    table = tmp_path / "interviews.csv"
    table.write_text(
        "path,participant_id,start,stop_second,Patient,run,age,sex,site,raters\na.mp4,01,,,,,,,,\n"
    )
    expected = tuple(
        f"interviews.csv: the column {got!r} is not read; is {meant!r} meant?"
        for got, meant in (
            ("start", "start_seconds"),
            ("stop_second", "stop_seconds"),
            ("Patient", "patient"),
        )
    )
    assert table_warnings([table]) == table_warnings([tmp_path]) == expected
    # A covariate that is like a column which the table has anyway.
    table.write_text("path,participant_id,patient,patients\na.mp4,01,,\n")
    assert table_warnings([table, tmp_path / "a.mp4"]) == ()


def test_a_table_beside_the_folder_is_not_passed_over(tmp_path):
    folder = tmp_path / "interviews"
    video = touch(folder, "sub-01.mp4") / "sub-01.mp4"
    table = tmp_path / "interviews.csv"
    table.write_text("path,participant_id,patient\ninterviews/sub-01.mp4,01,left\n")
    with pytest.raises(InputError, match="beside the folder") as caught:
        find_interviews([folder])
    assert "pass it in place of the folder" in str(caught.value)
    (found,) = find_interviews([table])
    assert found.patient == "left"
    (warning,) = table_warnings([video])
    assert warning.endswith("names videos that were given by themselves, and is not read")
    # A table of other videos, or one that nobody can read, is nobody's concern.
    table.write_text("path,participant_id\nelsewhere/sub-01.mp4,01\n")
    assert len(find_interviews([folder])) == 1
    assert table_warnings([video]) == ()
    table.write_text("no table")
    assert len(find_interviews([folder])) == 1
    # The one in the folder is read.
    table.write_text("path,participant_id,patient\ninterviews/sub-01.mp4,01,left\n")
    (folder / "interviews.csv").write_text("path,participant_id,patient\nsub-01.mp4,01,right\n")
    assert [i.patient for i in find_interviews([folder])] == ["right"]


@pytest.mark.parametrize("cell", ["1_30", "٣", "1e999", "1:30"])
def test_seconds_that_are_no_plain_number(tmp_path, cell):
    touch(tmp_path, "a.mp4")
    (tmp_path / "interviews.csv").write_text(f"path,participant_id,start_seconds\na.mp4,1,{cell}\n")
    with pytest.raises(InputError, match="start_seconds"):
        find_interviews([tmp_path])


def test_what_may_not_be_read_and_names_that_are_too_long_are_told(tmp_path, monkeypatch):
    (tmp_path / "interviews.csv").write_text(f"path,participant_id\n{'a' * 300}.mp4,1\n")
    with pytest.raises(InputError, match="no such file"):
        find_interviews([tmp_path])

    def refused(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(InputError, match=r"interviews.csv: can not be read \(Permission denied\)"):
        find_interviews([tmp_path])
