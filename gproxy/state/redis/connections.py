"""A bounded pool of connections to Redis, each used for one command at a time.

A connection returns to the pool only after its whole response is read. Any exception before that, the deadline of the
request included, closes the connection, so that no late response is taken for that of another command. One timer bounds
all waits of a command: for a free connection, DNS, connect, TLS, the password, the response.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from gevent import Timeout
from gevent.lock import BoundedSemaphore
from redis import BlockingConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.retry import Retry

from gproxy.config.sections.state import RedisURL, StateSettings

T_co = TypeVar("T_co", covariant=True)
#: An argument of a script.
Word = int | bytes

_LONGEST = 200


class Runs(Protocol[T_co]):
    """A script, and the digest by which Redis finds a script that it ran before."""

    @property
    def text(self) -> bytes: ...
    @property
    def digest(self) -> str: ...

    def keys(self, key: bytes, /) -> Sequence[bytes]:
        """Return all keys that the script uses for this one."""

    def result(self, answer: object, arguments: Sequence[Any], /) -> T_co:
        """Return the answer. Raise ValueError if the script cannot have returned it: the server may be no Redis."""


class StoreError(Exception):
    """A failed command; the message has the reason, without the password."""


class ForeignKeyError(StoreError):
    """A key of the gateway that someone else has written: only what uses this key fails, and not Redis."""


class Connections:
    """A pool of connections; the first command opens the first connection."""

    def __init__(self, url: RedisURL, settings: StateSettings) -> None:
        self._url = url
        self._timeout = settings.timeout
        self._connect = _connector(url, settings)
        self._room = BoundedSemaphore(settings.max_connections)
        self._free: list[AbstractConnection] = []

    def evaluate(self, script: Runs[T_co], key: bytes, *arguments: Word) -> T_co:
        """Run the script and return its result. Raises StoreError, and ForeignKeyError for a key of another type."""
        timer = Timeout.start_new(self._timeout)
        try:
            with self._room:
                return self._exchange(script, key, arguments)
        except Timeout as error:
            if error is not timer:
                raise
            raise StoreError("no answer in time") from None
        except Exception as error:  # noqa: BLE001 the parser raises more than RedisError for bytes that are no RESP
            is_foreign = isinstance(error, ResponseError) and "WRONGTYPE" in str(error)
            raise (ForeignKeyError if is_foreign else StoreError)(self._describe(error)) from None
        finally:
            timer.close()

    def _exchange(self, script: Runs[T_co], key: bytes, arguments: tuple[Word, ...]) -> T_co:
        connection = self._free_one() or self._connect()
        keys = script.keys(key)
        words = (len(keys), *keys, *arguments)
        try:
            connection.send_command("EVALSHA", script.digest, *words, check_health=False)
            try:
                answer = connection.read_response()
            except NoScriptError:  # Redis was restarted
                connection.send_command("EVAL", script.text, *words, check_health=False)
                answer = connection.read_response()
            result = script.result(answer, arguments)
        except BaseException:
            connection.disconnect()
            raise
        self._free.append(connection)
        return result

    def _free_one(self) -> AbstractConnection | None:
        """Return the last used connection that Redis has not closed."""
        while self._free:
            connection = self._free.pop()
            try:
                if not connection.can_read():
                    return connection
            except RedisError:
                pass
            connection.disconnect()
        return None

    def close(self) -> None:
        """Close all idle connections."""
        while self._free:
            self._free.pop().disconnect()

    def _describe(self, error: Exception) -> str:
        """Return the error as one line, without the password, which some servers repeat in errors."""
        text = " ".join(str(error).split()) or type(error).__name__
        return (text.replace(self._url.password, "***") if self._url.password else text)[:_LONGEST]


def client(url: RedisURL, settings: StateSettings, longest: float) -> Redis:
    """Return a client of redis-py for users' own commands; it connects on first use. Each wait ends after `longest`."""
    kind, options = _connection(url, settings)
    options |= {"socket_timeout": longest, "socket_connect_timeout": longest}
    most = settings.max_connections
    return Redis(
        connection_pool=BlockingConnectionPool(max_connections=most, timeout=longest, connection_class=kind, **options)
    )


def _connector(url: RedisURL, settings: StateSettings) -> Callable[[], AbstractConnection]:
    """Return a function that creates a connection; the connection connects on first use."""
    kind, options = _connection(url, settings)
    options |= {"socket_timeout": None, "socket_connect_timeout": None}  # the timer in evaluate bounds all waits
    return lambda: kind(**options)


def _connection(url: RedisURL, settings: StateSettings) -> tuple[Callable[..., AbstractConnection], dict[str, Any]]:
    """Return the class of the connections, and its options but for the time limits."""
    options: dict[str, Any] = {
        "db": url.database,
        "username": url.user or None,
        "password": url.password or None,
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
    }
    if url.scheme == "unix":
        return UnixDomainSocketConnection, options | {"path": url.path}
    options |= {"host": url.host, "port": url.port}
    if url.scheme == "redis":
        return Connection, options
    return SSLConnection, options | {"ssl_ca_certs": str(settings.tls_ca) if settings.tls_ca else None}
