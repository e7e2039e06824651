import jwt as pyjwt
import pytest

from gproxy.commands.credentials.token import claims_of, sign

SECRET = "secret = 0123456789abcdef0123456789abcdef\n"
INI = """
[gateway]
handlers = jwt
{handlers}
[route:users]
path = /users
upstream = api
[upstream:api]
backends = http://127.0.0.1:5001
"""


@pytest.fixture
def settings(tmp_path):
    def write(*handlers):
        path = tmp_path / "gproxy.ini"
        path.write_text(INI.replace("{handlers}", "\n".join(handlers)))
        return str(path)

    return write


def read(token):
    return pyjwt.decode(token, options={"verify_signature": False})


def test_the_claims_of_the_options():
    assert claims_of("bob") == {"sub": "bob"}
    found = claims_of("bob", "clerk", "a b", "shop", ["n=7", "ok=true", "list=[1]", "name=Zoë", "empty=", "eq=a=b"])
    assert found == {
        "sub": "bob", "role": "clerk", "scope": "a b", "aud": "shop",
        "n": 7, "ok": True, "list": [1], "name": "Zoë", "empty": "", "eq": "a=b",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (["plan"], "--claim: expected NAME=VALUE; found 'plan'"),
        (["=pro"], "--claim: expected NAME=VALUE; found '=pro'"),
        (["sub=eve"], "--claim: sub is given twice"),
        (["a=1", "a=2"], "--claim: a is given twice"),
    ],
)
def test_wrong_claims(more, problem):
    with pytest.raises(ValueError, match=f"^{problem}$"):
        claims_of("bob", more=more)


def test_a_token_has_the_claims_and_what_the_handler_requires(settings):
    path = settings("[handler:jwt]", SECRET, "issuer = ci", "audience = api, shop", "claims = plan: pro")
    claims = read(sign(path, claims_of("bob", more=["n=7"]), "1h"))
    assert {name: claims[name] for name in ("sub", "iss", "aud", "plan", "n")} == {
        "sub": "bob", "iss": "ci", "aud": "api", "plan": "pro", "n": 7,
    }  # fmt: skip
    assert read(sign(path, claims_of("bob", audience="shop"), "1h"))["aud"] == "shop"
    with pytest.raises(ValueError, match=r"^such a token would be rejected: it is meant for another audience$"):
        sign(path, claims_of("bob", audience="bank"), "1h")


def test_the_handler_with_a_secret_signs(settings):
    with_keys = "[handler:jwt]\nissuer = https://id.example\naudience = api"
    assert read(sign(settings(with_keys, "[handler:ci]\nuse = jwt\n" + SECRET), {"sub": "bob"}, "1h"))["sub"] == "bob"
    with pytest.raises(ValueError, match=r"^\[handler:jwt\] has no secret, so the gateway cannot sign tokens for it$"):
        sign(settings(with_keys), {"sub": "bob"}, "1h")
