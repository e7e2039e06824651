"""Canaille, an identity provider, with one user and two clients in memory: `canaille_issuer.py PORT CERTIFICATE KEY`.

The client `shop` gets tokens that are meant for itself and for `gateway`; `gateway` may ask about all tokens.
"""

import sys
from datetime import UTC, datetime

from canaille import create_app
from canaille.app import models
from canaille.backends import Backend
from werkzeug.serving import make_server


def client(name):
    made = models.Client(
        client_id=name,
        client_name=name,
        client_secret=f"secret-of-{name}",
        client_id_issued_at=datetime.now(UTC),
        redirect_uris=["https://localhost/"],
        grant_types=["password"],
        response_types=["code"],
        scope=["openid", "profile"],
        token_endpoint_auth_method="client_secret_basic",
    )
    Backend.instance.save(made)
    return made


def main(port, certificate, key):
    settings = {"DATABASE": "memory"}
    app = create_app(
        {"SECRET_KEY": "x" * 32, "SERVER_NAME": f"localhost:{port}", "CANAILLE": settings, "CANAILLE_OIDC": {}}
    )
    with app.app_context():
        alice = models.User(formatted_name="Alice", family_name="A", user_name="alice", password="alice's password")
        alice.emails = ["alice@example.com"]
        Backend.instance.save(alice)
        shop, gateway = client("shop"), client("gateway")
        shop.audience = [shop, gateway]
        Backend.instance.save(shop)
    server = make_server("127.0.0.1", int(port), app, threaded=True, ssl_context=(certificate, key))
    print("serves", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
