import base64

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed448, ed25519

from gproxy.identity.errors import Untrusted
from gproxy.identity.tokens import signatures
from gproxy.identity.tokens.signatures import Signatures, TokenHeader, media_type, read_unverified

SECRET = "a secret of sixty-four bytes, or a few more, so that HS512 is content"


def accepting(*algorithms):
    made = Signatures(algorithms)
    made.use(SECRET)
    return made


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_good_token(algorithm):
    ours = accepting(algorithm)
    token = ours.parse(ours.sign({"sub": "alice"}).encode())
    assert (token.header, token.claims) == (TokenHeader(algorithm, None, "jwt"), {"sub": "alice"})
    ours.verify(token)


@pytest.mark.parametrize("token", [b"", b".", b"..", b"...", b"e30", b"e30.e30", b"e30.e30.e30.e30", b"." * 8192])
def test_other_than_three_parts(token):
    with pytest.raises(Untrusted, match=r"^it is malformed$"):
        accepting("HS256").parse(token)


# RFC 4648 section 10, and the texts beside.
@pytest.mark.parametrize(
    ("text", "data"),
    [
        (b"", b""),
        (b"Zg", b"f"),
        (b"Zm8", b"fo"),
        (b"Zm9v", b"foo"),
        (b"Zm9vYg", b"foob"),
        (b"-_8", b"\xfb\xff"),
        (b"A" * 6, bytes(4)),
    ],
)
def test_base64url(text, data):
    assert signatures._decode(text) == data


@pytest.mark.parametrize(
    "text",
    [
        b"Z",
        b"Zm9vY",
        b"Zh",
        b"Zm9",
        b"Zg==",
        b"Zg=",
        b"Zm8=",
        b"Zm9v=",
        b"Zm9v====",
        b"=",
        b"====",
        b"Z g",
        b"Zm9v\n",
        b"\nZm9v",
        b"Zm=v",
        b"Z=9v",
        b"+_8",
        b"-/8",
        b"Zm9!",
        b"Zm\xe9v",
    ],
)
def test_other_texts_of_base64url(text):
    with pytest.raises(ValueError):
        signatures._decode(text)


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\xe9"}',
        b'\xef\xbb\xbf{"a":1}',
        '{"a":1}'.encode("utf-16-le"),
        b'{"a":1}x',
        b'\x0b{"a":1}',
    ],
)
def test_json_that_is_not_strict(data):
    with pytest.raises(ValueError):
        signatures._json_object(base64.urlsafe_b64encode(data).rstrip(b"="))


def test_a_header_is_judged_once():
    ours = accepting("HS256", "HS512")
    judged = []
    judge = ours._judge_header
    ours._judge_header = lambda header: judged.append(header) or judge(header)
    good = ours.sign({"sub": "alice"}).encode()
    for _ in range(3):
        ours.verify(ours.parse(good))
    assert len(judged) == 1


def test_only_headers_of_good_tokens_are_remembered_and_not_many():
    ours = accepting("HS256")
    good = ours.sign({}).encode()
    for number in range(200):
        token = ours.parse(ours._jws.encode(b"{}", SECRET.encode(), "HS256", headers={"kid": str(number)}).encode())
        ours.verify(token)
        assert 1 <= len(ours._headers) <= 64
    ours = accepting("HS256")
    token = ours.parse(good[:-1] + (b"A" if good[-1:] != b"A" else b"E"))
    with pytest.raises(Untrusted, match=r"^its signature is wrong$"):
        ours.verify(token)
    assert ours._headers == {}


def test_a_remembered_header_is_no_other_algorithm():
    """The memory belongs to one handler: what another one accepts does not count."""
    both, one = accepting("HS256", "HS512"), accepting("HS512")
    token = both.sign({}).encode()
    both.verify(both.parse(token))
    with pytest.raises(Untrusted, match=r"^its algorithm is not accepted here$"):
        one.parse(token)


def test_another_key_counts_at_once():
    ours = accepting("HS256")
    token = ours.sign({"sub": "alice"}).encode()
    ours.verify(ours.parse(token))
    ours.use("another secret of thirty-two bytes")
    with pytest.raises(Untrusted, match=r"^its signature is wrong$"):
        ours.verify(ours.parse(token))


def test_a_signature_that_the_cryptography_cannot_read(monkeypatch):
    ours = accepting("HS256")
    token = ours.parse(ours.sign({}).encode())

    def fail(signed, sig):
        raise ValueError("unreadable")

    monkeypatch.setitem(ours._checks, "HS256", fail)
    with pytest.raises(Untrusted, match=r"^it is malformed$"):
        ours.verify(token)


def test_nothing_of_a_token_is_in_its_repr():
    ours = accepting("HS256")
    assert "alice" not in repr(ours.parse(ours.sign({"sub": "alice"}).encode()))


def with_header(**header):
    return pyjwt.encode({"sub": "alice"}, SECRET, "HS256", headers=header).encode()


@pytest.mark.parametrize(
    ("header", "kid", "typ"),
    [
        ({}, None, "jwt"),
        ({"kid": ""}, "", "jwt"),
        ({"kid": "../../etc/passwd\"'"}, "../../etc/passwd\"'", "jwt"),
        ({"kid": "k" * 256}, "k" * 256, "jwt"),
        ({"typ": "application/at+jwt"}, None, "at+jwt"),
    ],
)
def test_what_counts_of_a_header(header, kid, typ):
    assert accepting("HS256").parse(with_header(**header)).header == TokenHeader("HS256", kid, typ)


def test_a_header_without_a_type():
    header = base64.urlsafe_b64encode(b'{"alg":"HS256"}').rstrip(b"=")
    assert accepting("HS256").parse(header + b".e30.").header == TokenHeader("HS256", None, None)


@pytest.mark.parametrize("member", ['"kid":"%s"' % ("k" * 257), '"kid":7', '"kid":null', '"typ":null', '"typ":["JWT"]'])
def test_a_header_with_a_member_of_another_form(member):
    header = base64.urlsafe_b64encode(f'{{"alg":"HS256",{member}}}'.encode()).rstrip(b"=")
    with pytest.raises(Untrusted, match=r"^it is malformed$"):
        accepting("HS256").parse(header + b".e30.")


# RFC 7515 section 4.1.9: the type is a media type, `application/` may be omitted if there is no other slash.
@pytest.mark.parametrize(
    ("typ", "short"),
    [("JWT", "jwt"), ("at+jwt", "at+jwt"), ("AT+JWT", "at+jwt"), ("Application/at+JWT", "at+jwt"), ("", ""),
     ("application/a/b", "application/a/b"), ("text/jwt", "text/jwt"), ("application/", "")],
)  # fmt: skip
def test_a_type(typ, short):
    assert media_type(typ) == short


@pytest.mark.parametrize("name", ["EdDSA", "Ed25519"])
def test_ed25519_is_a_name_of_eddsa(name):
    """RFC 9864 section 2.2."""
    private = ed25519.Ed25519PrivateKey.generate()
    ours = Signatures((name,))
    ours.use(private.public_key())
    for alg in (b"EdDSA", b"Ed25519"):
        signed = base64.urlsafe_b64encode(b'{"alg":"%s"}' % alg).rstrip(b"=") + b".e30"
        token = ours.parse(signed + b"." + base64.urlsafe_b64encode(private.sign(signed)).rstrip(b"="))
        assert token.header.algorithm == "EdDSA"
        ours.verify(token)


def test_ed25519_is_no_name_of_ed448():
    private = ed448.Ed448PrivateKey.generate()
    ours = Signatures(("EdDSA",))
    ours.use(private.public_key())
    header = base64.urlsafe_b64encode(b'{"alg":"Ed25519"}').rstrip(b"=")
    with pytest.raises(Untrusted, match="algorithm"):
        ours.parse(header + b".e30.")
    ours.verify(ours.parse(pyjwt.encode({}, private, "EdDSA").encode()))


class Key:
    def __init__(self, is_right):
        self.is_right = is_right

    def verify(self, signed, signature):
        return self.is_right


def test_keys_of_a_key_set():
    ours = Signatures(("HS256",))
    wrong, right = Key(False), Key(True)
    token = ours.parse(with_header(kid="1"))
    assert ours.verify_by([wrong, right, right], token) is right
    assert list(ours._headers.values()) == [TokenHeader("HS256", "1", "jwt")]
    for keys in ([], [wrong, wrong]):
        with pytest.raises(Untrusted, match=r"^its signature is wrong$") as caught:
            ours.verify_by(keys, token)
        assert caught.value.lasting
    with pytest.raises(Untrusted) as caught:
        ours.verify_by([wrong], ours.parse(with_header()))
    assert not caught.value.lasting


def test_a_token_read_without_any_check():
    assert read_unverified(with_header(kid="1", crit=["x"])) == (
        {"alg": "HS256", "typ": "JWT", "kid": "1", "crit": ["x"]},
        {"sub": "alice"},
    )


@pytest.mark.parametrize("token", [b"", b"a.b.c", b"e30.e30", b"e30.e30.Zh", b"e30.W10.", b"e30.e30.e30.e30"])
def test_what_is_no_token(token):
    with pytest.raises(Untrusted, match=r"^it is malformed$"):
        read_unverified(token)
