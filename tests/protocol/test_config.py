"""Parameter sets: the defaults are the brief's constants, and each bad value gives one error that names it."""

import math
import typing
from typing import Any

import msgspec
import pytest

from reference.protocol.config import ClientConfig, ServerConfig, recovery_bound_s
from reference.protocol.errors import ConfigError
from reference.protocol.frames import Limits

CONFIGS = (ClientConfig, ServerConfig)


def bounded_fields() -> list[Any]:
    """Every field of both sets that has bounds, with those bounds."""
    found = []
    for config in CONFIGS:
        for name, hint in typing.get_type_hints(config, include_extras=True).items():
            for option in (hint, *typing.get_args(hint)):
                found += [
                    pytest.param(config, name, meta, option.__origin__, id=f"{config.__name__}-{name}")
                    for meta in getattr(option, "__metadata__", ())
                    if isinstance(meta, msgspec.Meta)
                ]
    return found


def test_the_defaults_of_a_client_are_the_briefs() -> None:
    config = ClientConfig()
    assert (config.connect_timeout_s, config.ping_interval_s, config.steady_after_s) == (10, 10, 10)
    assert (config.fallback_after_failures, config.poll_interval_s) == (5, 2)
    assert (config.probe_interval_s, config.probe_interval_max_s, config.probe_jitter) == (15, 300, 0.25)
    assert (config.outbox_messages_max, config.outbox_bytes_max, config.outbox_age_max_s) == (1000, 1024 * 1024, 600)
    assert (config.unanswered_max, config.retry_limit, config.inbox_held_max) == (64, 3, 256)
    assert (config.ack_interval_s, config.ack_events, config.round_trip_samples_max) == (1, 1024, 100)
    assert (config.outbox_policy, config.start, config.tail_timeout_s) == ("reject_new", "snapshot", 2)


def test_the_defaults_of_a_server_are_the_briefs() -> None:
    config = ServerConfig()
    assert (config.hello_timeout_s, config.heartbeat_interval_s, config.events_kept_max) == (10, 15, 1000)
    assert (config.unanswered_max, config.frame_bytes_max) == (64, 64 * 1024)
    assert (config.token_warning_fraction, config.token_grace_s) == (0.8, 30)


@pytest.mark.parametrize(("config", "name", "meta", "kind"), bounded_fields())
def test_each_bad_value_gives_one_error_that_names_it(config: type, name: str, meta: msgspec.Meta, kind: type) -> None:
    step = 1 if kind is int else 1e-6
    beyond: list[Any] = ["5", True, [], math.nan]
    beyond += [] if meta.gt is None else [meta.gt, meta.gt - 1]
    beyond += [] if meta.ge is None else [meta.ge - step, -math.inf]
    beyond += [] if meta.le is None else [meta.le + step * max(1, abs(meta.le))]
    beyond += [1.5] if kind is int else [math.inf]
    for value in beyond:
        with pytest.raises(ConfigError, match=rf"^{name} = .*(must be|needs a)"):
            config(**{name: value})


SENT_STAYS = (
    "outbox_messages_max = 63 is below unanswered_max = 64: what is sent stays in the outbox until it is answered; "
    "raise the first or lower the second"
)
UNSEEN = (
    "appends_pending_max = 1001 exceeds events_kept_max = 1000: one append could trim what no reader has seen; lower the first"
)
COVERED = (
    "snapshot_interval_events = 1001 exceeds events_kept_max = 1000: what is trimmed must be covered by a snapshot; "
    "lower the first"
)
LARGEST = (
    "publish_bytes_burst = 65535 is below frame_bytes_max = 65536: the largest publish would never be taken; raise the first"
)
TWICE = (
    "frames_per_s and frame_burst must be at least twice publishes_per_s and publish_burst: a client that is put off for "
    "publishing too fast must not be closed for it; raise the first two"
)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: ClientConfig(outbox_messages_max=63), SENT_STAYS),
        (lambda: ClientConfig(probe_interval_max_s=14), "probe_interval_max_s is below probe_interval_s; raise it"),
        (lambda: ServerConfig(appends_pending_max=1001), UNSEEN),
        (lambda: ServerConfig(snapshot_interval_events=1001), COVERED),
        (lambda: ServerConfig(frames_per_s=399), TWICE),
        (lambda: ServerConfig(frame_burst=799), TWICE),
        (lambda: ServerConfig(publish_bytes_burst=65_535), LARGEST),
    ],
)
def test_values_that_contradict_each_other_are_refused_with_what_to_change(build: Any, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        build()
    assert str(refused.value) == says


@pytest.mark.parametrize(
    ("config", "just"),
    [
        (ClientConfig, {"outbox_messages_max": 64}),
        (ClientConfig, {"probe_interval_max_s": 15}),
        (ServerConfig, {"appends_pending_max": 1000}),
        (ServerConfig, {"snapshot_interval_events": 1000}),
        (ServerConfig, {"frames_per_s": 400}),
        (ServerConfig, {"frame_burst": 800}),
        (ServerConfig, {"publish_burst": 1000, "frame_burst": 2000}),
        (ServerConfig, {"publish_bytes_burst": 65_536}),
    ],
)
def test_values_that_just_agree_are_taken(config: type, just: dict[str, Any]) -> None:
    built = config(**just)
    assert {name: getattr(built, name) for name in just} == just


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("poll_wait_s", 25.5, "poll_wait_s = 25.5: must be <= 25"),
        ("poll_interval_s", 0, "poll_interval_s = 0: must be > 0"),
        ("probe_jitter", -0.5, "probe_jitter = -0.5: must be >= 0"),
        ("retry_limit", 1.5, "retry_limit = 1.5: needs a whole number"),
        ("poll_interval_s", "2", "poll_interval_s = '2': needs a number"),
        ("poll_interval_s", True, "poll_interval_s = True: needs a number"),
        ("start", "middle", "start = 'middle': must be one of snapshot, oldest, head"),
        ("refreshes_token", 1, "refreshes_token = 1: must be true or false"),
    ],
)
def test_a_bad_value_is_refused_with_what_it_must_be(field: str, value: Any, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        ClientConfig(**{field: value})
    assert str(refused.value) == says


@pytest.mark.parametrize(("field", "value"), [("outbox_policy", "keep_all"), ("start", "middle"), ("refreshes_token", "no")])
def test_a_choice_that_does_not_exist_is_refused(field: str, value: Any) -> None:
    with pytest.raises((ConfigError, msgspec.ValidationError), match=field):
        ClientConfig(**{field: value})


@pytest.mark.parametrize("config", CONFIGS)
def test_a_parameter_set_is_a_value(config: type) -> None:
    one = config()
    assert one == config()
    assert msgspec.json.decode(msgspec.json.encode(one), type=config) == one
    with pytest.raises(AttributeError):
        one.unanswered_max = 1
    with pytest.raises(ConfigError, match="unanswered_max"):
        msgspec.structs.replace(one, unanswered_max=65)
    with pytest.raises(msgspec.ValidationError, match="speed"):
        msgspec.json.decode(b'{"speed":1}', type=config)


def test_fallback_can_be_switched_off() -> None:
    assert ClientConfig(fallback_after_failures=None).fallback_after_failures is None


def test_a_servers_limits_are_reported_in_whole_milliseconds_and_never_as_none() -> None:
    config = ServerConfig(
        frame_bytes_max=2000,
        unanswered_max=9,
        publishes_per_s=7.5,
        hello_timeout_s=1.5,
        silence_max_s=20,
        slow_reader_timeout_s=0.0001,
    )
    assert config.limits == Limits(
        2000, 9, 7.5, hello_timeout_ms=1500, silence_max_ms=20_000, slow_reader_timeout_ms=1, events_kept_max=1000
    )


def test_the_recovery_bound_grows_with_what_it_covers() -> None:
    config = ClientConfig()
    longer = ClientConfig(poll_wait_s=20)
    assert recovery_bound_s(longer, 30.25, 0.1) == pytest.approx(recovery_bound_s(config, 30.25, 0.1) + 20)
    assert recovery_bound_s(config, 30.25, 0.1) == pytest.approx(20 + 20 + 22 + 60.5 + 2 + 1)
