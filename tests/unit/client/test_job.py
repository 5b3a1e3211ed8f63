import json

import httpx
import numpy as np
import pytest
import stamina
from matrix_server import gram_report

from gramserve.client import job as job_module
from gramserve.client import watch
from gramserve.client.connection import Connection
from gramserve.client.gram import Gram
from gramserve.client.job import Job
from gramserve.client.progress import describe
from gramserve.errors import (
    BlockError,
    GramserveError,
    JobCancelledError,
    MemoryBudgetError,
    NonFiniteKernelError,
    ServiceUnreachableError,
    WaitTimeoutError,
)
from gramserve.spec.status import JobReport


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(watch, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(watch, "_LONGEST_PAUSE_S", 0.002)
    with stamina.set_testing(True, attempts=2):
        yield


def report(state="running", done=0, **changes):
    """Return the body of a job of four blocks."""
    body = {
        "id": "job1",
        "state": state,
        "gram": "0" * 32,
        "grams": {"nngp": "0" * 32},
        "dataset": "d" * 64,
        "other": None,
        "kernel": {"kernel": "nngp", "layers": []},
        "precision": "float32",
        "block_size": 4,
        "priority": 0,
        "blocks": {"total": 4, "done": done, "reused": 0, "failed": 0},
        "progress": done / 4,
        "created": "2026-01-01T00:00:00Z",
    }
    return body | changes


def events(*bodies, first=1):
    """Return a stream of events that ends after these reports."""
    lines = [": keep-alive\n\n"]
    for number, body in enumerate(bodies, first):
        lines.append(f"id: {number}\nevent: progress\ndata: {json.dumps(body)}\n\n")
    return httpx.Response(
        200, headers={"Content-Type": "text/event-stream"}, content="".join(lines).encode()
    )


class JobServer:
    """Answers from a script: reports to GETs of the job, streams to GETs of its events."""

    def __init__(self, reports, streams=()):
        self.reports, self.streams = list(reports), list(streams)
        self.asked, self.headers = [], []

    def __call__(self, request):
        path = request.url.path
        self.asked.append(path)
        if path.startswith("/v1/grams"):
            return httpx.Response(200, json=gram_report(np.ones((4, 4))).model_dump(mode="json"))
        if path.endswith("/events"):
            self.headers.append(request.headers)
            answer = self.streams.pop(0) if self.streams else httpx.Response(404)
        else:
            answer = self.reports.pop(0) if len(self.reports) > 1 else self.reports[0]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)

    def job(self):
        """Return the job that this server has."""
        connection = Connection("http://gram.test", transport=httpx.MockTransport(self))
        return Job(connection, JobReport.model_validate(report("queued")))


def test_events_are_followed_to_the_end():
    server = JobServer([report()], [events(report(done=2), report("succeeded", 4))])
    job = server.job()
    assert isinstance(job.wait(progress=False), Gram)
    assert job.state == "succeeded"
    assert server.asked.count("/v1/jobs/job1") == 1


def test_a_broken_stream_is_taken_up_after_the_last_event():
    server = JobServer(
        [report()],
        [
            events(report(done=1), report(done=2), first=7),
            httpx.ReadError("restart"),
            events(report("succeeded", 4), first=9),
        ],
    )
    server.job().wait(progress=False)
    assert "Last-Event-ID" not in server.headers[0]
    assert server.headers[1]["Last-Event-ID"] == server.headers[2]["Last-Event-ID"] == "8"


def test_a_server_that_is_away_for_a_while_is_waited_for():
    away = [httpx.ConnectError("refused")] * 5
    server = JobServer([report(), *away, report("succeeded", 4)], [httpx.ReadError("killed")])
    server.job().wait(progress=False)
    assert server.asked.count("/v1/jobs/job1") == 7


def test_a_server_that_stays_away_ends_the_waiting():
    server = JobServer([report(), httpx.ConnectError("refused")], [httpx.ReadError("killed")])
    with pytest.raises(ServiceUnreachableError, match="gramserve serve"):
        server.job().wait(progress=False, give_up_s=0.05)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(404, json={"code": "not_found", "detail": "no events here"}),
        httpx.Response(200, text="<html>a proxy's page</html>"),
        events({"not": "a report"}),
    ],
)
def test_without_a_stream_the_job_is_asked_again(answer):
    server = JobServer([report(), report(done=3), report("succeeded", 4)], [answer])
    server.job().wait(progress=False)
    assert server.asked.count("/v1/jobs/job1") == 3


def test_patience_ends_while_the_job_goes_on():
    server = JobServer([report(done=1)])
    with pytest.raises(WaitTimeoutError, match="running") as caught:
        server.job().wait(timeout_s=0.05, progress=False)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.context["progress"] == 0.25


def test_a_failed_job_raises_the_class_of_its_error_and_names_the_blocks():
    failed = [{"block": [0, index], "error": "NaN in layers[1]"} for index in range(7)]
    error = {"code": "non_finite_kernel", "message": "7 blocks failed"}
    server = JobServer([report("failed", 1, failed_blocks=failed, error=error)])
    with pytest.raises(
        NonFiniteKernelError, match=r"7 blocks failed\n.*blocks\[0, 0\].*"
    ) as caught:
        server.job().wait(progress=False)
    assert len(caught.value.errors) == 7
    assert "and 2 more" in str(caught.value)
    assert caught.value.context["blocks"][6] == [0, 6]


def test_a_failed_job_may_fail_for_other_reasons_than_blocks():
    error = {"code": "memory_budget", "message": "a pair needs 9 GiB"}
    server = JobServer([report("failed", error=error)])
    with pytest.raises(MemoryBudgetError, match="9 GiB"):
        server.job().wait(progress=False)
    with pytest.raises(BlockError):
        JobServer([report("failed")]).job().wait(progress=False)


def test_a_cancelled_job_is_an_error():
    with pytest.raises(JobCancelledError, match="2 of 4 blocks"):
        JobServer([report("cancelled", 2)]).job().wait(progress=False)


def test_two_kernels_are_two_matrices():
    grams = {"nngp": "0" * 32, "ntk": "1" * 32}
    server = JobServer([report("succeeded", 4, gram=None, grams=grams)])
    found = server.job().wait(progress=False)
    assert sorted(found) == ["nngp", "ntk"]
    assert server.asked[-1] == "/v1/grams/" + "1" * 32


def test_the_bar_shows_blocks_rate_and_what_it_waits_for(capsys):
    bodies = [
        report(done=1, rate_entries_per_s=12_500_000.0, eta_s=125.0),
        report(done=2, waiting_reason="no worker is connected"),
        report("succeeded", 4),
    ]
    JobServer([report()], [events(*bodies)]).job().wait()
    shown = capsys.readouterr().err
    for words in ("4/4 blocks", "12.5 M entries/s", "2 min left", "no worker is connected"):
        assert words in shown


def test_words_count_reused_and_failed_blocks():
    blocks = {"total": 9, "done": 3, "reused": 2, "failed": 1}
    words = describe(JobReport.model_validate(report(blocks=blocks)))
    assert words == "running, 2 reused, 1 failed"


def test_commands_update_the_report():
    def handler(request):
        states = {"DELETE": "cancelled", "pause": "paused", "resume": "queued"}
        word = request.method if request.method == "DELETE" else request.url.path.split(":")[-1]
        return httpx.Response(200, json=report(states[word]))

    connection = Connection("http://gram.test", transport=httpx.MockTransport(handler))
    job = Job(connection, JobReport.model_validate(report()))
    assert job.pause().state == job.state == "paused"
    assert job.resume().state == job.state == "queued"
    assert job.cancel().state == job.state == "cancelled"


def test_an_empty_answer_to_a_command_is_followed_by_a_question():
    def handler(request):
        if request.method == "DELETE":
            return httpx.Response(204)
        return httpx.Response(200, json=report("cancelling"))

    connection = Connection("http://gram.test", transport=httpx.MockTransport(handler))
    assert Job(connection, JobReport.model_validate(report())).cancel().state == "cancelling"


def test_cards_escape_what_the_server_says():
    body = report(
        waiting_reason="<img src=x onerror=alert(1)>", error={"code": "x", "message": "<b>"}
    )
    job = Job(Connection("http://gram.test"), JobReport.model_validate(body))
    assert "<img" not in job._repr_html_()
    assert "&lt;img" in job._repr_html_()
    assert "<img" in repr(job)


def test_unknown_errors_are_not_waited_out():
    server = JobServer([httpx.Response(500, json={"code": "internal", "detail": "a bug"})])
    with pytest.raises(GramserveError, match="a bug"):
        server.job().wait(progress=False)
    assert job_module.GIVE_UP_S > 60
