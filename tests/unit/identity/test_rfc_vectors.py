"""The signed examples of RFC 7515 appendix A, and of RFC 8037 appendix A.4; those of RFC 7520 are in Wycheproof's file."""

import base64

import jwt as pyjwt
import pytest

from gproxy.identity.errors import Untrusted
from gproxy.identity.tokens import signatures
from gproxy.identity.tokens.signatures import Signatures, UnverifiedToken

CLAIMS = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
JOE = {"iss": "joe", "exp": 1300819380, "http://example.com/is_root": True}
HMAC_KEY = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"
RSA_KEY = {
    "kty": "RSA",
    "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZ"
    "S-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2Ca"
    "pHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h"
    "4FRWyuXpoQ",
    "e": "AQAB",
}
P256_KEY = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
P521_KEY = {
    "kty": "EC",
    "crv": "P-521",
    "x": "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk",
    "y": "ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2",
}
ED25519_KEY = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}

RS256 = (
    f"eyJhbGciOiJSUzI1NiJ9.{CLAIMS}.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5Y"
    "Kt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZ"
    "RmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWy"
    "wlVmtVrBp0igcN_IoypGlUPQGe77Rw"
)
ES256 = (
    f"eyJhbGciOiJFUzI1NiJ9.{CLAIMS}.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU"
    "1Q"
)
ES512 = (
    "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw"
    "_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn"
)
EDDSA = (
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iy"
    "lGjg5BhVsPt9g7sVvpAr_MuM0KAg"
)


def by_key(algorithm, key):
    made = Signatures((algorithm,))
    made.use(pyjwt.PyJWK(key, algorithm).key)
    return made


def parsed(ours, text):
    """A token whose payload need not be JSON; beyond that as `parse` does."""
    header, payload, signature = text.encode().split(b".")
    signatures._decode(payload)
    signed = header + b"." + payload
    return UnverifiedToken(header, ours._judge_header(header), {}, signed, signatures._decode(signature))


def test_rfc_7515_a_1():
    ours = Signatures(("HS256",))
    ours.use(base64.urlsafe_b64decode(HMAC_KEY + "=="))
    token = ours.parse(
        f"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{CLAIMS}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".encode()
    )
    ours.verify(token)
    assert token.claims == JOE


@pytest.mark.parametrize(("algorithm", "key", "text"), [("RS256", RSA_KEY, RS256), ("ES256", P256_KEY, ES256)])
def test_rfc_7515_a_2_and_a_3(algorithm, key, text):
    ours = by_key(algorithm, key)
    token = ours.parse(text.encode())
    ours.verify(token)
    assert token.claims == JOE


@pytest.mark.parametrize(("algorithm", "key", "text"), [("ES512", P521_KEY, ES512), ("EdDSA", ED25519_KEY, EDDSA)])
def test_rfc_7515_a_4_and_rfc_8037_a_4(algorithm, key, text):
    """Their payloads are no JSON, so they are no JWTs."""
    ours = by_key(algorithm, key)
    ours.verify(parsed(ours, text))
    with pytest.raises(Untrusted, match="malformed"):
        ours.parse(text.encode())


@pytest.mark.parametrize(
    ("algorithm", "key", "text"),
    [("RS256", RSA_KEY, RS256), ("ES256", P256_KEY, ES256), ("ES512", P521_KEY, ES512), ("EdDSA", ED25519_KEY, EDDSA)],
)
def test_one_changed_bit_of_an_example(algorithm, key, text):
    ours = by_key(algorithm, key)
    token = parsed(ours, text)
    token.signed = token.signed[:-1] + bytes([token.signed[-1] ^ 1])
    with pytest.raises(Untrusted, match="signature is wrong"):
        ours.verify(token)


def test_rfc_7515_a_5_an_unsecured_token():
    for algorithm in signatures.ALGORITHMS:
        with pytest.raises(Untrusted, match="algorithm"):
            Signatures((algorithm,)).parse(f"eyJhbGciOiJub25lIn0.{CLAIMS}.".encode())
