"""Frames of a worker line, with a descriptor behind one of them."""

import os
import socket

import pytest

from gproxy.introspection.frames import (
    PART,
    QUESTION,
    BrokenLineError,
    read_descriptor,
    read_frame,
    write_descriptor,
    write_frame,
)


def test_a_descriptor_comes_behind_its_frame_and_before_the_next_one():
    ours, theirs = socket.socketpair()
    read_end, write_end = os.pipe()
    with ours, theirs:
        write_frame(ours, QUESTION, b"first")
        write_descriptor(ours, write_end)
        write_frame(ours, PART, b"second")
        assert read_frame(theirs) == (QUESTION, b"first")
        with open(read_descriptor(theirs), "w") as file:
            file.write("x")
        assert read_frame(theirs) == (PART, b"second")
    assert os.read(read_end, 9) == b"x"
    for one in (read_end, write_end):
        os.close(one)


def test_a_missing_descriptor_breaks_the_line():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        write_frame(ours, QUESTION, b"")
        read_frame(theirs)
        ours.send(b"x")
        with pytest.raises(BrokenLineError, match="missing"):
            read_descriptor(theirs)
        ours.close()
        with pytest.raises(BrokenLineError):
            read_descriptor(theirs)
