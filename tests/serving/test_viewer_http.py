"""The viewer's door: one session, this host, this page; nothing outside the study."""

from __future__ import annotations

import http.client
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from emoclip_clinical.records import InputError
from emoclip_clinical.serving.viewer.blurring import squares_of
from emoclip_clinical.serving.viewer.server import ViewerServer

ONE = "/api/interviews/sub-01"


class Browser:
    """Requests with headers of one's own, and the cookie that was given."""

    def __init__(self, server: ViewerServer) -> None:
        self.server = server
        self.cookie = ""

    def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        content: object = None,
        raw: str | None = None,
        cookie: bool = True,
        **headers: str,
    ) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if cookie and self.cookie:
            sent["Cookie"] = self.cookie
        if method != "GET":
            sent.setdefault("Origin", f"http://127.0.0.1:{self.server.port}")
        body = raw if content is None else json.dumps(content)
        # Not http.client's own path handling: what is asked for arrives as it stands.
        connection.request(method, path, body=body, headers=sent)
        answer = connection.getresponse()
        answer.content = answer.read()
        connection.close()
        return answer

    def log_in(self) -> http.client.HTTPResponse:
        answer = self.ask("/" + self.server.url.rsplit("/", 1)[1])
        self.cookie = (answer.getheader("Set-Cookie") or "").split(";")[0]
        return answer


@pytest.fixture
def browser(study: Path, serve: Callable[..., ViewerServer]) -> Browser:
    made = Browser(serve(study))
    assert made.log_in().status == 303
    return made


def test_the_token_opens_one_session_once(study: Path, serve: Callable[..., ViewerServer]) -> None:
    browser = Browser(serve(study))
    assert browser.ask("/").status == 401
    assert browser.ask("/api/cohort").status == 401
    assert browser.ask("/?token=guess").status == 403
    answer = browser.log_in()
    assert (answer.status, answer.getheader("Location")) == (303, "/")
    cookie = answer.getheader("Set-Cookie")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Max-Age" not in cookie
    assert browser.ask("/").status == 200
    again = Browser(browser.server)
    assert again.log_in().status == 403
    assert again.ask("/api/cohort").status == 401
    forged = browser.cookie.split("=")[0] + "=x"
    assert browser.ask("/api/cohort", cookie=False, Cookie=forged).status == 401
    assert browser.ask("/api/cohort").status == 200


def test_other_hosts_and_other_pages_are_refused(browser: Browser) -> None:
    port = browser.server.port
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{port + 1}"):
        assert browser.ask("/api/cohort", Host=host).status == 421
    for origin in ("http://evil.example", "null", f"http://127.0.0.1:{port + 1}"):
        assert browser.ask("/api/cohort", Origin=origin).status == 403
    assert browser.ask("/api/cohort", Sec_Fetch_Site="cross-site").status == 403
    assert browser.ask("/api/cohort", Sec_Fetch_Site="same-site").status == 403
    mark = {"onset": 0, "duration": 2, "reason": "x"}
    post = {"method": "POST", "content": mark}
    assert browser.ask(f"{ONE}/marks", **post, Origin="http://evil.example").status == 403
    assert browser.ask(f"{ONE}/marks", **post, Origin="").status == 403
    answer = browser.ask(f"{ONE}/marks", method="OPTIONS", Origin="http://evil.example")
    assert answer.status == 403
    assert answer.getheader("Access-Control-Allow-Origin") is None
    assert browser.ask("/api/cohort", Origin=f"http://127.0.0.1:{port}").status == 200


def test_every_answer_is_kept_by_nobody_and_loads_nothing(browser: Browser) -> None:
    for path in ("/", "/viewer.js", "/api/cohort", f"{ONE}/picture?seconds=1", "/nothing"):
        answer = browser.ask(path)
        assert answer.getheader("Cache-Control") == "no-store"
        assert answer.getheader("Content-Security-Policy").startswith("default-src 'none'")
        assert answer.getheader("X-Content-Type-Options") == "nosniff"
        assert answer.getheader("Referrer-Policy") == "no-referrer"
        assert answer.getheader("Server") is None


@pytest.mark.parametrize(
    "path",
    [
        "/../outside.txt",
        "/static/../../outside.txt",
        "/api/interviews/..%2f..%2foutside.txt/video",
        "/api/interviews/../../outside.txt",
        "/api/interviews/%2e%2e/picture?seconds=1",
        "/api/interviews/sub-01%00/picture?seconds=1",
        "/api/interviews/sub-01_anna-smith/picture?seconds=1",
        "/api/interviews/sub-99",
        "/app.py",
        "/protocol.yaml",
        "/ratings.csv",
    ],
)
@pytest.mark.parametrize("show_faces", [False, True])
def test_nothing_but_interviews_by_name(
    study: Path, serve: Callable[..., ViewerServer], path: str, show_faces: bool
) -> None:
    browser = Browser(serve(study, show_faces=show_faces))
    browser.log_in()
    answer = browser.ask(path)
    assert answer.status == 404
    assert b"outside the study" not in answer.content


def test_no_video_is_sent_unless_faces_are_to_be_seen(
    browser: Browser, study: Path, serve: Callable[..., ViewerServer]
) -> None:
    assert browser.ask(f"{ONE}/video").status == 404
    open_one = Browser(serve(study, show_faces=True))
    open_one.log_in()
    whole = (study / "interviews" / "sub-01_anna-smith.webm").read_bytes()
    answer = open_one.ask(f"{ONE}/video", Range="bytes=10-29")
    assert (answer.status, answer.content) == (206, whole[10:30])
    assert open_one.ask(f"{ONE}/video").content == whole
    assert "anna" not in str(answer.headers).casefold()
    assert open_one.ask("/api/interviews/sub-03/video").status == 404


def test_a_blurred_picture_holds_a_colour_a_square_of_its_time(browser: Browser) -> None:
    assert browser.ask(f"{ONE}/picture?seconds=1e308").status == 200
    for seconds in (0.0, 3.05, 3.25, 8.0, 1.0):
        answer = browser.ask(f"{ONE}/picture?seconds={seconds}")
        assert (answer.status, answer.getheader("Content-Type")) == (200, "image/png")
        image = np.asarray(Image.open(io.BytesIO(answer.content)))
        assert image.shape == (7, 12, 3)
        # The wall is 40 at the beginning and grows by one with each tenth of a second.
        assert abs(np.median(image) - (40 + int(seconds * 10))) < 4
        # The chequered square, 16 of 160 pixels wide, is no more than a few flat spots.
        assert image.max() < 180
    for bad in ("", "x", "nan", "inf"):
        assert browser.ask(f"{ONE}/picture?seconds={bad}").status == 422
    assert browser.ask("/api/interviews/sub-03/picture?seconds=1").status == 404


def test_the_larger_the_face_the_coarser_the_picture() -> None:
    # At most 6 squares along a face, and 28 along a picture; 12 where no face was looked for.
    assert [squares_of(share) for share in (0.0, 0.05, 0.3, 0.5, 1.0)] == [12, 28, 20, 12, 6]


def test_the_page_knows_no_file_name_and_no_rating(browser: Browser) -> None:
    overview = json.loads(browser.ask("/api/cohort").content)
    assert [row["interview"] for row in overview["interviews"]] == [
        "sub-01",
        "sub-02_ses-1",
        "sub-03",
    ]
    assert [row["video"] for row in overview["interviews"]] == [True, True, False]
    assert overview["targets"] == ["N1"]
    assert overview["interviews"][1]["estimates"] == [4.5]
    timeline = json.loads(browser.ask(ONE).content)
    assert [s["onset"] for s in timeline["segments"]] == [0, 2, 4, 6, 8]
    assert timeline["sets"][0]["classes"] == ["happy", "sad", "calm"]
    assert [m["influence"] for m in timeline["moments"][0]["segments"]] == [0.31, -0.12]
    for answer in (overview, timeline):
        assert "anna" not in json.dumps(answer)
        assert "observed" not in json.dumps(answer)


def test_marks_are_kept_and_taken_back(browser: Browser, study: Path) -> None:
    path = f"{ONE}/marks"
    mark = {"onset": 2.0, "duration": 4.0, "reason": " left the room "}
    answer = browser.ask(path, method="POST", content=mark)
    assert answer.status == 201
    (made,) = json.loads(answer.content)["marks"]
    assert (made["segments"], made["reason"]) == ([1, 2], "left the room")
    row = pd.read_csv(study / "exclusions.csv").iloc[0]
    assert row[["interview", "onset", "duration", "marked_at", "estimates_shown"]].tolist() == [
        "sub-01", 2.0, 4.0, "2026-03-04T05:06:07+00:00", "yes",
    ]  # fmt: skip
    before = (study / "exclusions.csv").read_bytes()
    for bad, why in (
        (mark, "excluded already"),
        ({**mark, "reason": ""}, "must say why"),
        ({**mark, "reason": "x" * 300}, "at most 200 characters"),
        ({**mark, "onset": 90.0}, "no segment lies there"),
        ({**mark, "onset": -5, "duration": 6}, "outside the segments"),
        ({**mark, "onset": 0, "duration": 1e308}, "outside the segments"),
        ({**mark, "onset": 0, "reason": "N/A"}, "read as nothing"),
        ({**mark, "duration": -1}, "greater than 0"),
        ({"reason": "x"}, "onset"),
        ({**mark, "path": "/etc/passwd"}, "path"),
        ("text", "Mark"),
    ):
        answer = browser.ask(path, method="POST", content=bad)
        assert answer.status == 422
        assert why in " ".join(json.loads(answer.content)["faults"])
    deep = browser.ask(path, method="POST", raw="[" * 19_000)
    assert (deep.status, b"must be JSON" in deep.content) == (422, True)
    big = browser.ask(path, method="POST", content={**mark, "reason": "x" * 50_000})
    assert big.status == 413
    assert (study / "exclusions.csv").read_bytes() == before
    assert browser.ask(f"/api/interviews/sub-03/marks/{made['id']}", method="DELETE").status == 422
    answer = browser.ask(f"{path}/{made['id']}", method="DELETE")
    assert json.loads(answer.content) == {"marks": []}
    assert json.loads(browser.ask(ONE).content)["marks"] == []


def test_estimates_can_be_hidden_and_the_mark_says_so(
    study: Path, serve: Callable[..., ViewerServer]
) -> None:
    browser = Browser(serve(study, hide_estimates=True))
    browser.log_in()
    assert json.loads(browser.ask("/api/cohort").content)["targets"] == []
    assert json.loads(browser.ask(ONE).content)["moments"] == []
    mark = {"onset": 0, "duration": 2, "reason": "x"}
    assert browser.ask(f"{ONE}/marks", method="POST", content=mark).status == 201
    assert pd.read_csv(study / "exclusions.csv")["estimates_shown"].tolist() == ["no"]


def test_a_file_of_marks_with_faults_is_refused_at_the_start(
    study: Path, serve: Callable[..., ViewerServer]
) -> None:
    (study / "exclusions.csv").write_text("interview,onset,duration,reason\nsub-77,0,2,x\n")
    with pytest.raises(InputError, match="no segment of 'sub-77' is in the features"):
        serve(study)
