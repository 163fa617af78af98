"""The kit catches servers that break the protocol: our server behind a relay that makes one mistake."""

import itertools
import json
from collections.abc import Iterable
from dataclasses import replace
from urllib.parse import parse_qs, urlencode

import pytest

from simulation.conformance.wire import Binary, RawRequest, Response, Text
from tests.conformance.worlds import Frame, Mangler, in_virtual_time, judge_our_server, withholding, without


class DropsAnEvent(Mangler):
    def server_frame(self, frame: Frame) -> Iterable[Frame]:
        if frame["type"] == "events":
            kept = [event for event in frame["events"] if event["sequenceNumber"] != 2]
            return [frame | {"events": kept}] if kept else []
        return [frame]


class DoublesAnEvent(Mangler):
    def server_frame(self, frame: Frame) -> Iterable[Frame]:
        return [frame, frame] if frame["type"] == "events" else [frame]


class ShowsAnEventBeforeItsAcceptance(Mangler):
    def __init__(self) -> None:
        super().__init__()
        self.held: list[Frame] = []

    def server_frame(self, frame: Frame) -> Iterable[Frame]:
        if frame["type"] == "accepted":
            self.held.append(frame)
            return []
        if frame["type"] == "events":
            held, self.held = self.held, []
            return [frame, *held]
        return [frame]


class AnswersPingsToEveryone(Mangler):
    def server_frame(self, frame: Frame) -> Iterable[Frame]:
        return [frame] * len(self.relays) if frame["type"] == "pong" else [frame]


class EchoesNoNonce(Mangler):
    def server_frame(self, frame: Frame) -> Iterable[Frame]:
        return [frame | {"nonce": 0}] if frame["type"] == "pong" else [frame]


class ClosesWithAnotherCode(Mangler):
    def code_to_client(self, code: int | None) -> int | None:
        return 1008 if code == 4400 else code

    server_frame = staticmethod(withholding("error"))


class SaysAnotherErrorThanItClosesWith(Mangler):
    def server_frame(self, frame: Frame) -> Iterable[Frame]:
        return [frame | {"code": 4001}] if frame["type"] == "error" else [frame]


class DoesNotMarkCopies(Mangler):
    server_frame = staticmethod(without("duplicate"))


class TakesCopies(Mangler):
    """Every publish gets a new number of the client, so the server cannot know a copy."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = itertools.count(1)
        self.of_copy: dict[int, int] = {}

    def client_frame(self, frame: Frame) -> Iterable[Frame]:
        if frame["type"] != "publish":
            return [frame]
        number = next(self.numbers)
        self.of_copy[number] = frame["clientSequence"]
        return [frame | {"clientSequence": number, "after": 0}]

    def server_frame(self, frame: Frame) -> Iterable[Frame]:
        if "clientSequence" in frame:
            return [frame | {"clientSequence": self.of_copy[frame["clientSequence"]]}]
        return [frame]


class ForgetsAnswers(Mangler):
    def server_frame(self, frame: Frame) -> Iterable[Frame]:
        if frame.get("duplicate"):
            number = frame["clientSequence"]
            return [{"type": "rejected", "clientSequence": number, "code": "answer_expired", "message": "forgotten"}]
        return [frame]


class SaysOutOfOrderForGood(Mangler):
    server_frame = staticmethod(without("retryable"))


class BelievesTheUserOfTheClient(Mangler):
    def server_frame(self, frame: Frame) -> Iterable[Frame]:
        if frame["type"] == "events":
            return [frame | {"events": [event | {"userId": "mallory"} for event in frame["events"]]}]
        return [frame]


class ChangesLargeNumbers(Mangler):
    def server_message(self, message: Text | Binary) -> Iterable[Text | Binary]:
        assert isinstance(message, Text)
        return [Text(message.text.replace(str(2**63 - 1), str(2**63 - 1024)))]


class NeverResumes(Mangler):
    client_frame = staticmethod(without("epoch", "afterSequence"))


class ResetsWithoutSnapshot(Mangler):
    server_frame = staticmethod(withholding("snapshot"))


class FoldsWrongly(Mangler):
    def server_frame(self, frame: Frame) -> Iterable[Frame]:
        if frame["type"] == "snapshot" and frame["state"].get("flags"):
            return [frame | {"state": frame["state"] | {"flags": frame["state"]["flags"][:-1]}}]
        return [frame]


class HeartbeatsWithAnotherHead(Mangler):
    def server_frame(self, frame: Frame) -> Iterable[Frame]:
        return [frame | {"head": frame["head"] + 1}] if frame["type"] == "heartbeat" else [frame]


class HasNoHeartbeat(Mangler):
    server_frame = staticmethod(withholding("heartbeat"))


class NamesNobody(Mangler):
    def server_frame(self, frame: Frame) -> Iterable[Frame]:
        return [frame | {"activeUsers": []}] if frame["type"] == "welcome" else [frame]


class TellsNobodyWhoLeft(Mangler):
    server_frame = staticmethod(without("left"))


class SendsEveryCursor(Mangler):
    def server_frame(self, frame: Frame) -> Iterable[Frame]:
        return [frame] * 30 if frame["type"] == "cursors" else [frame]


class KeepsTheOldConnection(Mangler):
    """A takeover that is called something else."""

    def code_to_client(self, code: int | None) -> int | None:
        return 4001 if code == 4101 else code

    server_frame = staticmethod(withholding("error"))


class TakesBinaryMessages(Mangler):
    def client_message(self, message: Text | Binary) -> Iterable[Text | Binary]:
        return [Text(message.data.decode())] if isinstance(message, Binary) else [message]


class TakesAnySize(Mangler):
    def client_message(self, message: Text | Binary) -> Iterable[Text | Binary]:
        return [Text('{"type":"ping","nonce":5}')] if isinstance(message, Text) and len(message.text) > 60_000 else [message]


class RefusesUnknownFields(Mangler):
    def client_frame(self, frame: Frame) -> Iterable[Frame]:
        return [frame | {"nonce": "spoilt"}] if "colour" in frame and frame["type"] == "ping" else [frame]


class TakesAnyOrigin(Mangler):
    def request(self, request: RawRequest) -> RawRequest:
        return replace(request, headers={name: value for name, value in request.headers.items() if name != "origin"})


class TakesATokenFromTheUrl(Mangler):
    def request(self, request: RawRequest) -> RawRequest:
        query = parse_qs(request.query)
        if "token" not in query:
            return request
        headers = request.headers | {"authorization": f"Bearer {query.pop('token')[0]}"}
        target = request.path + (f"?{urlencode(query, doseq=True)}" if query else "")
        return replace(request, headers=headers, target=target)


class DoesNotWaitWithPolls(Mangler):
    def request(self, request: RawRequest) -> RawRequest:
        query = {name: value for name, value in parse_qs(request.query).items() if name != "waitMs"}
        return replace(request, target=request.path + (f"?{urlencode(query, doseq=True)}" if query else ""))


class AnswersWithAnotherStatus(Mangler):
    def response(self, request: RawRequest, response: Response) -> Response:
        return replace(response, status=403) if response.status == 401 else response


class HasOtherErrorBodies(Mangler):
    def response(self, request: RawRequest, response: Response) -> Response:
        if response.status < 400:
            return response
        problem = json.loads(response.body)
        return replace(response, body=json.dumps({"error": {"status": problem["code"]}}).encode())


class ReordersResults(Mangler):
    def response(self, request: RawRequest, response: Response) -> Response:
        if response.status == 200 and request.path.endswith("/publish"):
            content = json.loads(response.body)
            return replace(response, body=json.dumps(content | {"results": content["results"][::-1]}).encode())
        return response


class SaysThatNothingFollows(Mangler):
    def response(self, request: RawRequest, response: Response) -> Response:
        if response.status == 200 and request.path.endswith("/replay"):
            return replace(response, body=json.dumps(json.loads(response.body) | {"hasMore": False}).encode())
        return response


BROKEN: list[tuple[type[Mangler], str, str]] = [
    (DropsAnEvent, "place.start", "4.11"),
    (DropsAnEvent, "publish.reaches_everybody", "8.16"),
    (DoublesAnEvent, "place.resume", "4.11"),
    (ShowsAnEventBeforeItsAcceptance, "publish.reaches_everybody", "8.10"),
    (AnswersPingsToEveryone, "frames.ping", "4.17"),
    (EchoesNoNonce, "frames.ping", "4.17"),
    (ClosesWithAnotherCode, "frames.no_frames", "3.3"),
    (SaysAnotherErrorThanItClosesWith, "upgrade.unknown_run", "3.10"),
    (DoesNotMarkCopies, "publish.copies", "4.14"),
    (TakesCopies, "publish.copies", "4.14"),
    (TakesCopies, "publish.copies_in_flight", "8.2"),
    (ForgetsAnswers, "publish.remembered_answers", "8.3"),
    (SaysOutOfOrderForGood, "publish.out_of_order", "4.15"),
    (BelievesTheUserOfTheClient, "publish.reaches_everybody", "10.2"),
    (ChangesLargeNumbers, "publish.data_is_kept", "4.3"),
    (NeverResumes, "place.resume", "8.13"),
    (ResetsWithoutSnapshot, "place.other_epoch", "3.8"),
    (FoldsWrongly, "place.window", "4.10"),
    (HeartbeatsWithAnotherHead, "place.heartbeat", "4.16"),
    (HasNoHeartbeat, "place.heartbeat", "8.20"),
    (NamesNobody, "welcome.content", "4.9"),
    (TellsNobodyWhoLeft, "session.bye", "8.31"),
    (SendsEveryCursor, "cursor.latest", "8.29"),
    (KeepsTheOldConnection, "session.takeover", "8.22"),
    (TakesBinaryMessages, "frames.binary", "3.2"),
    (TakesAnySize, "frames.size", "3.2"),
    (RefusesUnknownFields, "frames.unknown_fields", "3.3"),
    (TakesAnyOrigin, "upgrade.foreign_origin", "3.5"),
    (TakesATokenFromTheUrl, "token.in_url", "3.4"),
    (TakesATokenFromTheUrl, "http.token", "5.3"),
    (DoesNotWaitWithPolls, "poll.waits", "8.25"),
    (AnswersWithAnotherStatus, "http.token", "5.6"),
    (HasOtherErrorBodies, "http.errors", "5.1"),
    (ReordersResults, "http.publish", "4.21"),
    (SaysThatNothingFollows, "http.replay", "5.5"),
]


@pytest.mark.parametrize(("broken", "case", "clause"), BROKEN, ids=lambda value: getattr(value, "__name__", str(value)))
def test_a_broken_server_is_caught(broken: type[Mangler], case: str, clause: str) -> None:
    verdict = in_virtual_time(judge_our_server, [case], broken())[case]
    assert (verdict.status, verdict.clause) == ("failed", clause), verdict.message
