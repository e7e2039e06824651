"""Errors of Redis are logged in one line, and never with the password."""

import socket
import threading

import pytest

from gproxy.config.sections.state import RedisURL, StateSettings
from gproxy.config.types import Seconds
from gproxy.state.redis.connections import Connections, StoreError
from gproxy.state.redis.script import LIMIT


def repeat(listener):
    """Answer as some servers do what they do not know."""
    connection, _ = listener.accept()
    with connection:
        words = connection.recv(65536).decode().split("\r\n")[2::2]
        connection.sendall(f"-ERR unknown command '{words[0]}', with args beginning with: {words[1:]}\r\n".encode())


def test_a_server_that_repeats_the_password_is_not_quoted():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=repeat, args=[listener])
        thread.start()
        url = RedisURL(f"redis://me:top-secret@127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(StoreError) as caught:
            Connections(url, StateSettings(timeout=Seconds(5))).evaluate(LIMIT, b"key")
        thread.join()
    assert str(caught.value) == "unknown command 'AUTH', with args beginning with: ['me', '***']"
