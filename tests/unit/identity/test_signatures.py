import base64

import pytest

from gproxy.identity import signatures
from gproxy.identity.signatures import Signatures, Untrusted

SECRET = "a secret of sixty-four bytes, or a few more, so that HS512 is content"


def accepting(*algorithms):
    made = Signatures(algorithms)
    made.use(SECRET)
    return made


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_good_token(algorithm):
    ours = accepting(algorithm)
    token = ours.parse(ours.sign({"sub": "alice"}).encode())
    assert (token.algorithm, token.claims) == (algorithm, {"sub": "alice"})
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
