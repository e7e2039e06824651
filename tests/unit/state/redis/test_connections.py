"""Errors of Redis are logged in one line, and never with the password; nonsense is an error too."""

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


def answer_scripts(listener, answer):
    """Accept every command but the script, which gets this answer."""
    connection, _ = listener.accept()
    with connection, connection.makefile("rb") as stream:
        while line := stream.readline():
            words = [stream.read(int(stream.readline()[1:]) + 2)[:-2] for _ in range(int(line[1:]))]
            connection.sendall(answer if words[0].startswith(b"EVAL") else b"+OK\r\n")


def evaluated(answer):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer_scripts, args=[listener, answer])
        thread.start()
        connections = Connections(
            RedisURL(f"redis://127.0.0.1:{listener.getsockname()[1]}"), StateSettings(timeout=Seconds(5))
        )
        try:
            return connections.evaluate(LIMIT, b"key", 60_000_000, 100, 5, 1_000_000)
        finally:
            connections.close()
            thread.join()


def test_the_result_of_the_script():
    assert evaluated(b"*4\r\n:5\r\n:95\r\n:0\r\n:60000000\r\n") == [5, 95, 0, 60_000_000]


@pytest.mark.parametrize(
    "answer",
    [
        b"+OK\r\n", b":1\r\n", b"$-1\r\n", b"*-1\r\n", b"*0\r\n", b"$4\r\nnope\r\n",
        b"*3\r\n:1\r\n:1\r\n:1\r\n",
        b"*4\r\n:1\r\n:1\r\n:1\r\n$1\r\n1\r\n",
        b"*4\r\n:1\r\n:1\r\n:1\r\n*0\r\n",
        b"*4\r\n:6\r\n:1\r\n:0\r\n:1\r\n",
        b"*4\r\n:-1\r\n:1\r\n:0\r\n:1\r\n",
        b"*4\r\n:1\r\n:101\r\n:0\r\n:1\r\n",
        b"*4\r\n:1\r\n:1\r\n:999999999999\r\n:1\r\n",
        b":abc\r\n", b"*abc\r\n", b"*1\r\n" * 5000 + b":1\r\n",
    ],
)  # fmt: skip
def test_nonsense_is_a_failure_of_the_store(answer):
    with pytest.raises(StoreError):
        evaluated(answer)
