"""Bodies that are kept while they pass, in memory and on disk, and played again byte for byte."""

import errno
import random

import pytest

from gproxy.http.body import Body
from gproxy.http.errors import HTTPError
from gproxy.http.request import request
from gproxy.runtime import Runtime
from gproxy.upstream.forwarder import replay
from gproxy.upstream.forwarder.replay import ReplayBuffer


class Reader:
    """Gives pieces, then trailers."""

    def __init__(self, pieces):
        self._pieces = list(pieces)
        self.trailers = [("X-Sum", "1")]
        self.done = not self._pieces

    def next_piece(self):
        piece = self._pieces.pop(0) if self._pieces else b""
        self.done = not self._pieces
        return piece


PIECES = [bytes([n]) * 1000 for n in range(1, 9)]


def recorded(pieces, *, memory, spool=0, at_hand=b"", state_dir=None):
    asked = request("PUT")
    asked.body = Body(at_hand, Reader(pieces), None)
    asked.body.record(ReplayBuffer(asked, Runtime(state_dir=state_dir), memory, spool))
    return asked


@pytest.mark.parametrize(("memory", "spool"), [(8000, 0), (9000, 9000), (2500, 8000), (0, 8000), (1000, 7000)])
@pytest.mark.parametrize("read_before", [0, 1, 3, 8])
def test_it_comes_again_from_the_beginning(tmp_path, memory, spool, read_before):
    asked = recorded(PIECES[1:], memory=memory, spool=spool, at_hand=PIECES[0], state_dir=tmp_path)
    body = asked.body
    for _ in range(3):
        assert b"".join(PIECES).startswith(b"".join(body.next_piece() for _ in range(read_before)))
        assert body.can_begin_again
        body.rewind()
    assert body.read() == b"".join(PIECES)
    assert body.received == 8000
    assert body.done and body.trailers == [("X-Sum", "1")]
    asked.end()


@pytest.mark.parametrize(("memory", "spool"), [(7999, 0), (0, 7999), (1000, 6000), (0, 0)])
def test_too_long_a_body_is_not_kept(tmp_path, memory, spool):
    asked = recorded(PIECES, memory=memory, spool=spool, state_dir=tmp_path)
    assert asked.body.can_begin_again  # nothing was read yet
    assert asked.body.read() == b"".join(PIECES)
    assert not asked.body.can_begin_again
    asked.end()
    assert list(tmp_path.iterdir()) == []


def test_random_pieces_random_reads(tmp_path):
    rng = random.Random(5)
    for _ in range(50):
        pieces = [rng.randbytes(rng.randint(1, 3000)) for _ in range(rng.randint(1, 20))]
        whole = b"".join(pieces)
        asked = recorded(pieces, memory=rng.randint(0, 10_000), spool=60_000, state_dir=tmp_path)
        for _ in range(4):
            for _ in range(rng.randint(0, 25)):
                asked.body.next_piece()
            asked.body.rewind()
        assert asked.body.read() == whole
        assert asked.body.received == len(whole)
        asked.end()


def test_the_file_has_no_name_and_ends_with_the_request(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(replay, "_open", lambda folder, real=replay._open: opened.append(real(folder)) or opened[0])
    asked = recorded(PIECES, memory=10, spool=10_000, state_dir=tmp_path)
    asked.body.read()
    assert list(tmp_path.iterdir()) == []
    assert not opened[0].closed
    asked.end()
    assert opened[0].closed


def test_a_full_disk_costs_the_retry_and_not_the_request(tmp_path, monkeypatch, caplog):
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(replay, "_write", lambda *_: full)
    asked = recorded(PIECES, memory=10, spool=10_000, state_dir=tmp_path)
    assert asked.body.read() == b"".join(PIECES)
    assert not asked.body.can_begin_again
    assert caplog.messages == ["test PUT /: request body cannot be recorded: No space left on device"]


def test_a_folder_that_is_not_there(tmp_path):
    asked = recorded(PIECES, memory=10, spool=10_000, state_dir=tmp_path / "none")
    asked.body.read()
    asked.body.rewind()
    assert asked.body.read() == b"".join(PIECES)
    asked.end()


@pytest.mark.parametrize(
    ("given", "why"),
    [(OSError(errno.EIO, "Input/output error"), "Input/output error"), (b"", "the file is too short")],
)
def test_a_disk_that_does_not_give_it_back(tmp_path, monkeypatch, caplog, given, why):
    asked = recorded(PIECES, memory=10, spool=10_000, state_dir=tmp_path)
    asked.body.read()
    monkeypatch.setattr(replay, "_read", lambda *_: given)
    with pytest.raises(HTTPError) as error:
        asked.body.rewind()
    assert (error.value.status, error.value.reason) == (500, "spool")
    assert why in caplog.text
    asked.end()
