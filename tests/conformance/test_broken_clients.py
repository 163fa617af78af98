"""The kit catches clients that break the protocol: our client behind a relay that makes one mistake, or with settings other than
those it reports."""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from reference.protocol.policies.catalogue import Fixed
from simulation.conformance.wire import Binary, RawRequest, Response, Text
from tests.conformance.worlds import Frame, Mangler, in_virtual_time, judge_our_client, withholding, without


class SendsTwice(Mangler):
    def client_frame(self, frame: Frame) -> Iterable[Frame]:
        return [frame, frame] if frame["type"] == "publish" else [frame]


class NumbersAgain(Mangler):
    """Copies on the next connection get new numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.more = 0

    def client_frame(self, frame: Frame) -> Iterable[Frame]:
        if frame["type"] == "hello" and "afterSequence" in frame:
            self.more = 3
        return [frame | {"clientSequence": frame["clientSequence"] + self.more}] if frame["type"] == "publish" else [frame]


class ReversesTheOutbox(Mangler):
    def __init__(self) -> None:
        super().__init__()
        self.held: list[Frame] = []

    def client_frame(self, frame: Frame) -> Iterable[Frame]:
        if frame["type"] != "publish":
            return [frame]
        self.held.append(frame)
        if len(self.held) < 3:
            return []
        held, self.held = self.held[::-1], []
        return held


class NeverAcknowledges(Mangler):
    client_frame = staticmethod(withholding("ack"))


class AcknowledgesTooMuch(Mangler):
    def client_frame(self, frame: Frame) -> Iterable[Frame]:
        return [frame | {"sequenceNumber": frame["sequenceNumber"] + 1}] if frame["type"] == "ack" else [frame]


class ForgetsItsPosition(Mangler):
    client_frame = staticmethod(without("epoch", "afterSequence"))


class ResumesTooFarAhead(Mangler):
    def client_frame(self, frame: Frame) -> Iterable[Frame]:
        return [frame | {"afterSequence": frame["afterSequence"] + 1}] if "afterSequence" in frame else [frame]


class HasOneGeneration(Mangler):
    def client_frame(self, frame: Frame) -> Iterable[Frame]:
        return [frame | {"generation": 1}] if frame["type"] == "hello" else [frame]


class ForgetsTheSession(Mangler):
    client_frame = staticmethod(without("sessionId"))


class PutsTheTokenInTheUrl(Mangler):
    def request(self, request: RawRequest) -> RawRequest:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        return replace(request, target=f"{request.target}?token={token}")


class OffersNoSubprotocol(Mangler):
    def request(self, request: RawRequest) -> RawRequest:
        return replace(
            request, headers={name: value for name, value in request.headers.items() if name != "sec-websocket-protocol"}
        )


class SendsBeforeWelcome(Mangler):
    def client_frame(self, frame: Frame) -> Iterable[Frame]:
        return [frame, {"type": "ping", "nonce": 9}] if frame["type"] == "hello" else [frame]


class NeverPings(Mangler):
    client_frame = staticmethod(withholding("ping"))


class SendsBinary(Mangler):
    def client_message(self, message: Text | Binary) -> Iterable[Text | Binary]:
        return [Binary(message.text.encode())] if isinstance(message, Text) else [message]


class LeavesWithoutBye(Mangler):
    client_frame = staticmethod(withholding("bye"))


class ComesBackAfterTheEnd(Mangler):
    def code_to_client(self, code: int | None) -> int | None:
        return 4001 if code == 4403 else code


class StopsAfterTooSlow(Mangler):
    def code_to_client(self, code: int | None) -> int | None:
        return 4400 if code == 4008 else code


class IgnoresTheTimeOfGoaway(Mangler):
    def server_frame(self, frame: Frame) -> Iterable[Frame]:
        return [frame | {"retryAfterMs": 0, "spreadMs": 0}] if frame["type"] == "goaway" else [frame]


class IgnoresHeads(Mangler):
    server_frame = staticmethod(withholding("heartbeat"))


class IgnoresUnansweredMax(Mangler):
    def server_frame(self, frame: Frame) -> Iterable[Frame]:
        return [frame | {"limits": frame["limits"] | {"unansweredMax": 64}}] if frame["type"] == "welcome" else [frame]


class IgnoresFrameBytesMax(Mangler):
    def server_frame(self, frame: Frame) -> Iterable[Frame]:
        return [frame | {"limits": frame["limits"] | {"frameBytesMax": 65_536}}] if frame["type"] == "welcome" else [frame]


class IgnoresRetryAfter(Mangler):
    def server_frame(self, frame: Frame) -> Iterable[Frame]:
        return [frame | {"retryAfterMs": 0}] if "retryAfterMs" in frame else [frame]


class DoesNotDeclareHoles(Mangler):
    client_frame = staticmethod(without("after"))


class TakesBadFrames(Mangler):
    def server_message(self, message: Text | Binary) -> Iterable[Text | Binary]:
        assert isinstance(message, Text)
        try:
            known = json.loads(message.text)["type"] in ("welcome", "snapshot", "events", "pong")
        except ValueError:
            known = False
        return [message] if known else []


class IgnoresExpiring(Mangler):
    server_frame = staticmethod(withholding("expiring"))


class IgnoresRetryAfterOfUpgrades(Mangler):
    def response(self, request: RawRequest, response: Response) -> Response:
        headers = {name: value for name, value in response.headers.items() if name != "retry-after"}
        return replace(response, headers=headers, body=b"")


class ReportsLongerOutages(Mangler):
    def client_frame(self, frame: Frame) -> Iterable[Frame]:
        return [frame | {"report": {"recoveries": [{"recoveryMs": 60_000}]}}] if frame["type"] == "ping" else [frame]


BROKEN: list[tuple[type[Mangler], str, str]] = [
    (ReportsLongerOutages, "report.of_an_outage", "7.42"),
    (IgnoresRetryAfterOfUpgrades, "upgrade.retry_after", "7.23"),
    (IgnoresRetryAfterOfUpgrades, "upgrade.retry_after_of_a_proxy", "5.7"),
    (SendsTwice, "publish.numbers", "7.8"),
    (NumbersAgain, "publish.again_after_a_cut", "7.8"),
    (ReversesTheOutbox, "publish.numbers", "7.4"),
    (NeverAcknowledges, "events.order", "7.18"),
    (AcknowledgesTooMuch, "events.order", "4.5"),
    (ForgetsItsPosition, "resume.after_a_cut", "4.2"),
    (ResumesTooFarAhead, "resume.after_a_cut", "2.8"),
    (HasOneGeneration, "resume.after_a_cut", "2.6"),
    (ForgetsTheSession, "resume.after_a_cut", "2.4"),
    (PutsTheTokenInTheUrl, "connect.first", "3.4"),
    (OffersNoSubprotocol, "connect.first", "3.1"),
    (SendsBeforeWelcome, "connect.first", "3.7"),
    (NeverPings, "ping.interval", "7.31"),
    (SendsBinary, "connect.first", "3.2"),
    (LeavesWithoutBye, "end.bye", "7.38"),
    (ComesBackAfterTheEnd, "end.4403", "7.39"),
    (IgnoresTheTimeOfGoaway, "goaway.waits", "7.23"),
    (StopsAfterTooSlow, "resume.codes", "6.2"),
    (IgnoresHeads, "events.lost_tail", "7.13"),
    (IgnoresUnansweredMax, "publish.unanswered_max", "7.4"),
    (IgnoresFrameBytesMax, "publish.too_big", "7.3"),
    (IgnoresRetryAfter, "publish.put_off", "7.10"),
    (DoesNotDeclareHoles, "publish.gives_up", "7.6"),
    (DoesNotDeclareHoles, "publish.after_a_reset", "7.7"),
    (TakesBadFrames, "bad_frames.no_frames", "3.3"),
    (IgnoresExpiring, "token.expiring", "7.36"),
]


@pytest.mark.parametrize(("broken", "case", "clause"), BROKEN, ids=lambda value: getattr(value, "__name__", str(value)))
def test_a_broken_client_is_caught(broken: type[Mangler], case: str, clause: str) -> None:
    verdict = in_virtual_time(judge_our_client, [case], broken)[case]
    assert (verdict.status, verdict.clause) == ("failed", clause), verdict.message


class HasOneClientId(Mangler):
    def client_frame(self, frame: Frame) -> Iterable[Frame]:
        return [frame | {"clientId": "the-same"}] if frame["type"] == "hello" else [frame]


def test_two_programs_with_one_client_id_are_caught() -> None:
    verdicts = in_virtual_time(judge_our_client, ["connect.first", "events.order"], HasOneClientId)
    assert [verdict.clause for verdict in verdicts.values() if verdict.status == "failed"] == ["2.2"]


OTHER_SETTINGS: list[tuple[dict[str, Any], str, str]] = [
    ({"fallback_after_failures": None}, "fallback.polls", "7.25"),
    ({"fallback_after_failures": 2}, "fallback.polls", "7.25"),
    ({"poll_interval_s": 0.5}, "fallback.polls", "7.26"),
    ({"tail_timeout_s": 60.0}, "events.lost_tail", "7.13"),
    ({"ping_timeout_s": 60.0}, "half_open.is_left", "7.32"),
    ({"connect_timeout_s": 60.0}, "connect.no_welcome", "7.20"),
    ({"retry_limit": 30}, "publish.gives_up", "7.10"),
    ({"retry_base_s": 0.1}, "publish.gives_up", "7.10"),
    ({"probe_interval_s": 120.0}, "fallback.returns", "7.28"),
    ({"ping_interval_s": 60.0}, "ping.interval", "7.31"),
]


@pytest.mark.parametrize(("settings", "case", "clause"), OTHER_SETTINGS, ids=str)
def test_other_settings_than_the_client_reports_are_caught(settings: dict[str, Any], case: str, clause: str) -> None:
    verdict = in_virtual_time(lambda: judge_our_client([case], reported={}, **settings))[case]
    assert (verdict.status, verdict.clause) == ("failed", clause), verdict.message


@pytest.mark.parametrize("seconds", [0.05, 20.0])
def test_another_reconnect_policy_than_the_client_tells_is_caught(seconds: float) -> None:
    verdict = in_virtual_time(lambda: judge_our_client(["resume.after_a_cut"], policy=Fixed(seconds=seconds)))[
        "resume.after_a_cut"
    ]
    assert (verdict.status, verdict.clause) == ("failed", "7.22"), verdict.message


class ReportsNothing(Mangler):
    client_frame = staticmethod(without("report"))


@pytest.mark.parametrize(
    ("broken", "settings", "case"),
    [(ReportsNothing, {}, "report.of_an_outage"), (None, {"start": "oldest"}, "snapshot.first")],
    ids=["no report", "no snapshot"],
)
def test_a_case_without_anything_to_judge_does_not_apply(
    broken: type[Mangler] | None, settings: dict[str, Any], case: str
) -> None:
    verdict = in_virtual_time(lambda: judge_our_client([case], broken, **settings))[case]
    assert verdict.status == "not applicable", verdict.message


def _twice(name: str, content: Frame) -> list[tuple[str, Frame]]:
    return [(name, content)] * (2 if name == "event" else 1)


def _without_snapshots(name: str, content: Frame) -> list[tuple[str, Frame]]:
    return [] if name in ("snapshot", "reset") and content["sequenceNumber"] else [(name, content)]


def _without_the_end(name: str, content: Frame) -> list[tuple[str, Frame]]:
    return [] if name == "ended" else [(name, content)]


def _certain(name: str, content: Frame) -> list[tuple[str, Frame]]:
    return [(name, content | {"mayHaveArrived": False} if name == "failed" else content)]


def _prints(name: str, content: Frame) -> list[tuple[str, Frame]]:
    return [("log", {"text": "hello"}), (name, content)]


REPORTS = [
    (_twice, "events.order", "7.12"),
    (_without_snapshots, "reset.epoch", "7.15"),
    (_without_snapshots, "snapshot.expired", "7.12"),
    (_without_the_end, "end.4404", "contract"),
    (_certain, "end.bye", "7.39"),
    (_prints, "connect.first", "contract"),
]


@pytest.mark.parametrize(("change", "case", "clause"), REPORTS, ids=lambda value: getattr(value, "__name__", str(value)))
def test_wrong_reports_to_the_application_are_caught(change: Any, case: str, clause: str) -> None:
    verdict = in_virtual_time(judge_our_client, [case], None, change)[case]
    assert (verdict.status, verdict.clause) == ("failed", clause), verdict.message
