"""An issuer of tokens for tests: a real HTTP or HTTPS server in a thread, which can also fail in many ways.

with Issuer() as issuer, RunningGateway(f"… issuer = {issuer.url} …", folder) as gateway:
    assert gateway.get("/", f"Authorization: Bearer {issuer.token()}").status == 200
"""

import json
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from secrets import token_urlsafe
from types import TracebackType
from typing import Any, Final, Literal, Self
from urllib.parse import parse_qs

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt import PyJWS

from gproxy.testing.authority import Authority
from gproxy.testing.backends import Actor, Peer, Received

Endpoint = Literal["keys", "metadata", "introspection"]
Failure = Literal["status", "hang", "trickle", "huge", "redirect", "garbage", "empty"]

#: Seconds between two bytes of a trickle, and bytes of a huge body.
_PAUSE: Final = 0.05
_HUGE: Final = 1_000_000_000
_CURVES: Final[Mapping[str, Callable[[], ec.EllipticCurve]]] = {
    "ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1,
}  # fmt: skip
_jws: Final = PyJWS()
_NOTHING: Final[Mapping[str, Any]] = {}


@dataclass(frozen=True)
class SigningKey:
    """A private key of an issuer, and the public part as the issuer publishes it."""

    kid: str
    algorithm: str
    private: Any
    public: dict[str, Any]

    @classmethod
    def new(cls, kid: str, algorithm: str) -> Self:
        """Return a new key for RS*, PS*, ES* or EdDSA."""
        private: Any
        if algorithm in _CURVES:
            private = ec.generate_private_key(_CURVES[algorithm]())
        elif algorithm == "EdDSA":
            private = ed25519.Ed25519PrivateKey.generate()
        else:
            private = rsa.generate_private_key(65537, 2048)
        jwk = _jws.get_algorithm_by_name(algorithm).to_jwk(private.public_key(), as_dict=True)
        public = {**jwk, "kid": kid, "alg": algorithm, "use": "sig"}
        public.pop("key_ops", None)
        return cls(kid, algorithm, private, public)


class Issuer:
    """An issuer with metadata, a key set and an introspection endpoint; for use in a `with`.

    `path` is the path of its URL, `authority` signs its certificate (https), `metadata` is the form of its discovery:
    OpenID Connect, or OAuth (RFC 8414). Tokens are signed with `algorithm` and are for `audience`.

    url: the issuer, as in `iss`. requests: numbers of requests by endpoint ("keys", "metadata", "introspection",
    "other"). received: these requests. document: the metadata, which a test may change. published: the keys in the set.
    """

    def __init__(
        self,
        *,
        path: str = "",
        authority: Authority | None = None,
        algorithm: str = "ES256",
        metadata: Literal["openid", "oauth"] = "openid",
        audience: str = "api",
        port: int = 0,
    ) -> None:
        self._tls = _server_context(authority) if authority else None
        self._server = Actor(self._act, port=port, tls=self._tls)
        self.url = f"{self._server.url}{path}"
        self.audience = audience
        self.requests: Counter[str] = Counter()
        self.received: list[Received] = []
        self.keys_url = f"{self.url}/keys"
        self.introspection_url = f"{self.url}/introspect"
        self.document: dict[str, Any] = {
            "issuer": self.url,
            "jwks_uri": self.keys_url,
            "introspection_endpoint": self.introspection_url,
        }
        well_known = {
            "openid": f"{path}/.well-known/openid-configuration",
            "oauth": f"/.well-known/oauth-authorization-server{path}",
        }
        self._endpoints: dict[str, Endpoint] = {
            well_known[metadata]: "metadata",
            f"{path}/keys": "keys",
            f"{path}/redirected": "keys",
            f"{path}/introspect": "introspection",
        }
        self._failures: dict[Endpoint, Failure] = {}
        self._recovered = threading.Event()
        self._counting = threading.Lock()
        self._opaque: dict[str, dict[str, Any]] = {}
        self._keys: dict[str, SigningKey] = {}
        self.published: list[dict[str, Any]] = []
        #: The kid of the key that signs.
        self.kid = ""
        self.rotate(algorithm)

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Close the listener and all connections: the issuer is down."""
        self._recovered.set()
        self._server.stop()

    def start(self) -> None:
        """Serve again on the same port, after `stop`."""
        self._recovered.clear()
        self._server = Actor(self._act, port=self._server.port, tls=self._tls)
        self._server.__enter__()

    def rotate(self, algorithm: str = "", *, publish: bool = True) -> str:
        """Sign with a new key from now on, and publish it beside the others; return its kid."""
        algorithm = algorithm or self._keys[self.kid].algorithm
        self.kid = f"k{len(self._keys) + 1}"
        self._keys[self.kid] = key = SigningKey.new(self.kid, algorithm)
        if publish:
            self.publish(key.public)
        return self.kid

    def publish(self, *keys: Mapping[str, Any]) -> None:
        """Add public keys, or anything else, to the set."""
        self.published = [*self.published, *map(dict, keys)]

    def withdraw(self, kid: str) -> None:
        """Publish the keys with this kid no longer; tokens can still be signed with them."""
        self.published = [key for key in self.published if key.get("kid") != kid]

    def key(self, kid: str = "") -> SigningKey:
        """Return the key with this kid, by default the one that signs."""
        return self._keys[kid or self.kid]

    def token(
        self,
        user: str = "alice",
        *,
        ttl: float = 300.0,
        kid: str = "",
        header: Mapping[str, Any] = _NOTHING,
        **claims: object,
    ) -> str:
        """Return a token for a user, which expires in `ttl` seconds, signed with the key `kid`.

        `header` and `claims` are added to the usual ones, and replace them; None leaves one out.
        """
        key, now = self.key(kid), int(time.time())
        usual = {"iss": self.url, "sub": user, "aud": self.audience, "iat": now, "exp": now + ttl}
        fields = _given({"typ": "JWT", "kid": key.kid, **header})
        payload = json.dumps(_given({**usual, **claims})).encode()
        algorithm = str(fields.pop("alg", key.algorithm))
        return _jws.encode(payload, key.private, algorithm, fields)

    def opaque(self, user: str = "alice", **claims: object) -> str:
        """Return an opaque token, which the introspection endpoint knows; None leaves a member out of the answer."""
        token = token_urlsafe(24)
        usual = {"active": True, "iss": self.url, "sub": user, "aud": self.audience, "exp": int(time.time()) + 300}
        self._opaque[token] = _given({**usual, **claims})
        return token

    def revoke(self, token: str) -> None:
        """Let the introspection endpoint answer that this opaque token is not active."""
        self._opaque.pop(token, None)

    def fail(self, how: Failure, endpoint: Endpoint = "keys") -> None:
        """Let an endpoint fail until `recover`.

        status: 500. hang: no answer. trickle: a byte at a time. huge: 1 GB. redirect: to the good answer. garbage: no
        JSON. empty: an empty object, or a set without keys.
        """
        self._recovered.clear()
        self._failures[endpoint] = how

    def recover(self) -> None:
        """Let all endpoints work again, at once."""
        self._failures.clear()
        self._recovered.set()

    def _act(self, peer: Peer, request: Received) -> None:
        peer.read_body(request)
        path = request.line.split(" ")[1].partition("?")[0]
        endpoint = self._endpoints.get(path)
        with self._counting:
            self.requests[endpoint or "other"] += 1
            self.received.append(request)
        failure = self._failures.get(endpoint) if endpoint and not path.endswith("/redirected") else None
        if endpoint is None:
            _answer(peer, b"{}", "404 Not Found")
        elif failure is None:
            _answer(peer, json.dumps(self._content(endpoint, request)).encode())
        else:
            self._fail(peer, failure, path, endpoint)

    def _content(self, endpoint: Endpoint, request: Received) -> object:
        if endpoint == "metadata":
            return self.document
        if endpoint == "keys":
            return {"keys": self.published}
        token = parse_qs(request.body.decode("latin-1")).get("token", [""])[0]
        return self._opaque.get(token, {"active": False})

    def _fail(self, peer: Peer, failure: Failure, path: str, endpoint: Endpoint) -> None:
        if failure == "status":
            _answer(peer, b"{}", "500 Internal Server Error")
        elif failure == "redirect":
            place = path.rpartition("/")[0] if endpoint == "keys" else ""
            _answer(peer, b"", "302 Found", f"Location: {place}/redirected\r\n")
        elif failure == "garbage":
            _answer(peer, b"<html>no JSON</html>")
        elif failure == "empty":
            _answer(peer, b'{"keys": []}' if endpoint == "keys" else b"{}")
        elif failure == "huge":
            _send_huge(peer)
        else:
            self._stall(peer, trickles=failure == "trickle")

    def _stall(self, peer: Peer, *, trickles: bool) -> None:
        """Send nothing, or a byte from time to time, until the endpoint recovers."""
        if trickles:
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
        while not self._recovered.wait(_PAUSE):
            if trickles:
                peer.send(b" ")
        peer.close()


def _given(members: Mapping[str, object]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _answer(peer: Peer, body: bytes, status: str = "200 OK", headers: str = "") -> None:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    peer.send(head.encode("latin-1") + body)


def _send_huge(peer: Peer) -> None:
    """Send 1 GB of blanks in chunks, so that no length announces them."""
    peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    piece = b"%x\r\n%s\r\n" % (100_000, b" " * 100_000)
    for _ in range(_HUGE // 100_000):
        peer.send(piece)
    peer.send("0\r\n\r\n")


def _server_context(authority: Authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("localhost", "127.0.0.1", file="issuer"))
    return context
