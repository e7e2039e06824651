"""SETTINGS: ours as they are announced, and each rule of RFC 9113 section 6.5.2 for those of the peer."""

from struct import pack

import pytest

from gproxy.http.h2 import frames
from gproxy.http.h2.settings import PeerSettings, SessionFault, SessionOptions


def apply(*pairs, is_server=False, is_first=True, peer=None):
    peer = peer or PeerSettings(is_server=is_server)
    peer.apply(b"".join(pack(">HL", *pair) for pair in pairs), is_first=is_first)
    return peer


def test_a_peer_has_the_defaults_of_the_rfc():
    peer = PeerSettings(is_server=True)
    assert (peer.table, peer.max_streams, peer.initial_window, peer.enables_connect) == (4096, 100, 65535, False)


def test_settings_are_taken_over():
    peer = apply((1, 100), (2, 0), (3, 7), (4, 2**31 - 1), (5, 2**24 - 1), (6, 5000), (8, 1), (9, 1))
    assert (peer.table, peer.max_streams, peer.initial_window, peer.enables_connect) == (100, 7, 2**31 - 1, True)


def test_a_peer_that_names_no_limit_of_streams_has_none():
    peer = apply()
    assert peer.max_streams == 2**32 - 1
    apply((3, 5), peer=peer, is_first=False)
    assert apply((4, 70000), peer=peer, is_first=False).max_streams == 5


def test_the_last_value_counts_and_the_smallest_table_is_kept():
    peer = apply((1, 4096), (1, 10), (1, 2000))
    assert (peer.smallest_table, peer.table) == (10, 2000)


def test_unknown_settings_are_ignored():
    assert apply((0, 1), (7, 5), (0xABAB, 2**32 - 1)).table == 4096


@pytest.mark.parametrize(
    ("pairs", "is_server", "code"),
    [
        ([(2, 2)], False, frames.PROTOCOL_ERROR),
        ([(2, 1)], True, frames.PROTOCOL_ERROR),
        ([(4, 2**31)], False, frames.FLOW_CONTROL_ERROR),
        ([(4, 2**31), (4, 5)], False, frames.FLOW_CONTROL_ERROR),
        ([(5, 16383)], False, frames.PROTOCOL_ERROR),
        ([(5, 2**24)], False, frames.PROTOCOL_ERROR),
        ([(8, 2)], True, frames.PROTOCOL_ERROR),
        ([(8, 1), (8, 0)], True, frames.PROTOCOL_ERROR),
        ([(9, 2)], False, frames.PROTOCOL_ERROR),
    ],
)
def test_a_value_that_is_not_allowed_ends_the_session(pairs, is_server, code):
    with pytest.raises(SessionFault) as fault:
        apply(*pairs, is_server=is_server)
    assert fault.value.code == code


@pytest.mark.parametrize("size", [1, 5, 7])
def test_a_length_that_is_no_multiple_of_6_ends_the_session(size):
    with pytest.raises(SessionFault) as fault:
        PeerSettings(is_server=False).apply(b"\0" * size, is_first=True)
    assert fault.value.code == frames.FRAME_SIZE_ERROR


def test_a_client_may_enable_push_for_itself():
    assert apply((2, 1)).table == 4096


def test_a_limit_for_heads_is_kept():
    assert apply((6, 8192)).max_head == 8192
    assert apply((2, 0)).max_head > 2**31


def test_ours_are_those_of_the_design():
    options = SessionOptions(max_streams=7, max_head=5000)
    assert options.server_settings() == [(3, 7), (4, 65536), (6, 5000), (8, 1), (9, 1)]
    assert options.client_settings() == [(2, 0), (4, 65536), (6, 5000), (9, 1)]


@pytest.mark.parametrize(
    "values",
    [
        {"initial_window": 65534},
        {"initial_window": 70000, "max_window": 69999},
        {"max_window": 2**31},
        {"connection_window": 65534},
    ],
)
def test_windows_are_at_least_the_default(values):
    with pytest.raises(ValueError, match="expected 65535"):
        SessionOptions(**values)
