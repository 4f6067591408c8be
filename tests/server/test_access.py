"""The gate: who may ask, from which page; tickets are good once; failures are counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamsv.errors import AuthenticationError, ConfigError, LimitReached, NotAllowed
from streamsv.server.access import Gatekeeper
from streamsv.server.keys import KeyStore
from streamsv.server.limits import Limits, LimitsConfig, address_of, is_loopback
from streamsv.server.tickets import Tickets, ticket_in

HERE, ELSEWHERE = "127.0.0.1", "203.0.113.9"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(tmp_path: Path):
    with KeyStore(tmp_path / "keys.db") as opened:
        yield opened


@pytest.fixture
def gate(keys: KeyStore, clock: Clock) -> Gatekeeper:
    limits = Limits(LimitsConfig(failures_per_address=3, failure_window_s=60.0), clock)
    return Gatekeeper(keys, Tickets(clock), limits, ["https://desk.example.com"])


def bearer(key: str) -> str:
    return f"Bearer {key}"


def test_without_any_key_everybody_here_may_do_everything_and_nobody_elsewhere_anything(
    gate: Gatekeeper,
) -> None:
    assert gate.is_open
    found = gate.authenticate_header(None, HERE)
    assert (found.key_id, found.has("admin")) == ("local", True)
    with pytest.raises(AuthenticationError, match="this machine only"):
        gate.authenticate_header(None, ELSEWHERE)


def test_the_first_key_closes_the_gate_and_revoking_it_does_not_open_it(
    gate: Gatekeeper, keys: KeyStore
) -> None:
    local = gate.authenticate_header(None, HERE)
    made = keys.create(["verify"])
    for _ in range(2):
        assert not gate.is_open
        assert not gate.still_valid(local)
        with pytest.raises(AuthenticationError):
            gate.authenticate_header(None, HERE)
        keys.revoke(made.record.id)


def test_a_key_may_do_what_it_is_for(gate: Gatekeeper, keys: KeyStore) -> None:
    found = gate.authenticate_header(bearer(keys.create(["verify"]).key), ELSEWHERE)
    found.require("verify")
    with pytest.raises(NotAllowed, match="scope enroll"):
        found.require("enroll")
    gate.authenticate_header(bearer(keys.create(["admin"]).key), ELSEWHERE).require("enroll")


@pytest.mark.parametrize("header", ["", "Basic abc", "Bearer", "Bearer ", "Bearer ssv_0_1"])
def test_any_other_header_is_refused(gate: Gatekeeper, keys: KeyStore, header: str) -> None:
    keys.create(["verify"])
    with pytest.raises(AuthenticationError):
        gate.authenticate_header(header, HERE)


def test_an_address_that_fails_too_often_is_told_to_wait_and_is_forgiven_in_time(
    gate: Gatekeeper, keys: KeyStore, clock: Clock
) -> None:
    key = keys.create(["verify"]).key

    def fail(peer: str = ELSEWHERE) -> None:
        gate.authenticate_header(bearer("ssv_wrong_key"), peer)

    for _ in range(3):
        with pytest.raises(AuthenticationError):
            fail()
    with pytest.raises(LimitReached) as limited:
        fail()
    assert limited.value.value == 20
    with pytest.raises(AuthenticationError):
        fail("198.51.100.1")
    gate.authenticate_header(bearer(key), ELSEWHERE)
    clock.now += 20
    with pytest.raises(AuthenticationError):
        fail()
    with pytest.raises(LimitReached):
        fail()


def test_a_ticket_is_good_once_for_its_scope_and_half_a_minute(
    gate: Gatekeeper, keys: KeyStore, clock: Clock
) -> None:
    principal = gate.authenticate_header(bearer(keys.create(["verify"]).key), HERE)
    ticket = gate.issue_ticket(principal, "verify")
    assert ticket.ticket not in repr(ticket)
    found = gate.redeem_ticket(ticket.ticket, HERE)
    assert (found.key_id, found.scopes) == (principal.key_id, {"verify"})
    with pytest.raises(AuthenticationError):
        gate.redeem_ticket(ticket.ticket, HERE)
    late = gate.issue_ticket(principal, "verify")
    clock.now += 30.1
    with pytest.raises(AuthenticationError):
        gate.redeem_ticket(late.ticket, HERE)
    with pytest.raises(NotAllowed):
        gate.issue_ticket(principal, "enroll")


def test_a_ticket_of_a_key_that_was_revoked_meanwhile_is_refused(
    gate: Gatekeeper, keys: KeyStore
) -> None:
    made = keys.create(["verify"])
    principal = gate.authenticate_header(bearer(made.key), HERE)
    ticket = gate.issue_ticket(principal, "verify")
    keys.revoke(made.record.id)
    with pytest.raises(AuthenticationError, match="revoked"):
        gate.redeem_ticket(ticket.ticket, HERE)


def test_one_key_cannot_fill_the_memory_with_tickets(clock: Clock) -> None:
    tickets = Tickets(clock, most_per_key=3)
    for _ in range(3):
        tickets.issue("one", "verify")
    with pytest.raises(LimitReached):
        tickets.issue("one", "verify")
    tickets.issue("other", "verify")
    clock.now += 31
    tickets.issue("one", "verify")


def test_a_ticket_is_found_among_subprotocols() -> None:
    assert ticket_in(["streamsv.v1", "streamsv.ticket.abc"]) == "abc"
    assert ticket_in(["streamsv.v1"]) is None


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (None, "api.example.com"),
        ("https://api.example.com", "api.example.com"),
        ("http://api.example.com:8080", "api.example.com:8080"),
        ("https://api.example.com", "api.example.com:443"),
        ("https://desk.example.com", "api.example.com"),
    ],
)
def test_a_page_of_this_host_or_a_configured_one_may_ask(
    gate: Gatekeeper, keys: KeyStore, origin: str | None, host: str
) -> None:
    keys.create(["verify"])
    gate.check_origin(origin, host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://evil.example", "api.example.com"),
        ("null", "api.example.com"),
        ("https://api.example.com.evil.example", "api.example.com"),
        ("https://api.example.com:444", "api.example.com"),
        ("https://api.example.com@evil.example", "api.example.com"),
        ("http://desk.example.com", "api.example.com"),
        ("https://[", "["),
        ("https://api.example.com", None),
        ("", ""),
    ],
)
def test_any_other_page_is_refused(
    gate: Gatekeeper, keys: KeyStore, origin: str, host: str | None
) -> None:
    keys.create(["verify"])
    with pytest.raises(NotAllowed):
        gate.check_origin(origin, host)


def test_a_name_that_was_pointed_at_this_machine_does_not_pass_the_open_gate(
    gate: Gatekeeper,
) -> None:
    for host in ("localhost:8080", "127.0.0.1:8080", "[::1]:8080"):
        gate.check_origin(f"http://{host}", host)
    with pytest.raises(NotAllowed, match="localhost"):
        gate.check_origin("http://evil.example:8080", "evil.example:8080")


@pytest.mark.parametrize("origin", ["desk.example.com", "https://x/", "HTTPS://x", "*", "ftp://x"])
def test_an_origin_in_the_configuration_is_checked(keys: KeyStore, origin: str) -> None:
    with pytest.raises(ConfigError, match="allowed_origins"):
        Gatekeeper(keys, allowed_origins=[origin])


def test_what_one_key_and_one_address_may_have_is_counted_and_given_back(
    gate: Gatekeeper, keys: KeyStore
) -> None:
    limits = Limits(LimitsConfig(sessions_per_key=2, sessions_per_address=3))
    one = gate.authenticate_header(bearer(keys.create(["verify"]).key if keys else ""), HERE)
    other = gate.authenticate_header(bearer(keys.create(["verify"]).key), HERE)
    with limits.session(one, HERE), limits.session(one, ELSEWHERE):
        with (
            pytest.raises(LimitReached, match="This key has 2 sessions"),
            limits.session(one, HERE),
        ):
            pass
        with limits.session(other, HERE), limits.session(other, HERE):
            third = limits.session(other, HERE)
            with pytest.raises(LimitReached, match="This address has 3"), third:
                pass
        assert limits.in_use("sessions") == 2
    assert limits.in_use("sessions") == 0


def test_an_address_is_one_ipv4_address_or_the_64_of_an_ipv6_one() -> None:
    assert address_of("2001:db8:1:2:3::4") == address_of("2001:db8:1:2::9")
    assert address_of("2001:db8:1:3::1") != address_of("2001:db8:1:2::1")
    assert address_of("::ffff:192.0.2.1") == address_of("192.0.2.1")
    assert is_loopback("::ffff:127.0.0.1")
    assert is_loopback("::1")
    assert not is_loopback("10.0.0.1")
    assert not is_loopback("testclient")
