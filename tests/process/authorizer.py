"""An external authorizer as a process: `python authorizer.py PORT`. It answers as the documents of known ones describe.

/verify       as a plain authorizer, by the cookie sid and the fields of NGINX and of Traefik
/api/authz/…  as Authelia
/oauth2/auth  as oauth2-proxy behind auth_request; /oauth2/ as oauth2-proxy with `--upstream=static://202`
"""

import sys
import time
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

ACCOUNTS = {"alice": "dev", "root": "admin"}


class Authorizer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.startswith("/api/authz/"):
            self.authelia()
        elif self.path.startswith("/oauth2/"):
            self.oauth2_proxy()
        else:
            self.verify()

    do_POST = do_PUT = do_HEAD = do_GET

    def user(self, name):
        cookie = SimpleCookie(self.headers.get("Cookie", "")).get(name)
        return cookie.value if cookie else ""

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, values in headers.items():
            for value in values if isinstance(values, list) else [values]:
                self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.command != "HEAD" else b"")

    def verify(self):
        uri = self.headers.get("X-Original-URI") or self.headers.get("X-Forwarded-Uri") or ""
        method = self.headers.get("X-Original-Method") or self.headers.get("X-Forwarded-Method")
        user = self.user("sid")
        if user == "slow":
            time.sleep(5)
        if user == "broken":
            self.answer(500)
        elif user == "twice":
            self.answer(200, Remote_User=["alice", "root"])
        elif user not in ACCOUNTS:
            self.answer(401, b"who?", WWW_Authenticate='Basic realm="all"')
        elif (uri.startswith("/admin") and user != "root") or (method == "DELETE" and "force" not in uri):
            self.answer(403, b"no")
        else:
            self.answer(200, Remote_User=user, Remote_Groups=ACCOUNTS[user])

    def authelia(self):
        """Forward-auth of Authelia 4.38: identity in Remote-*, 302 or 303 to the portal, 401 for XHR, 403."""
        scheme, host = self.headers["X-Forwarded-Proto"], self.headers["X-Forwarded-Host"]
        method, uri = self.headers["X-Forwarded-Method"], self.headers["X-Forwarded-URI"]
        user = self.user("authelia_session")
        target = f"{scheme}://{host}{uri}"
        if user == "alice" and uri.startswith("/secret"):
            self.answer(403, b"403 Forbidden", Content_Type="text/plain; charset=utf-8")
        elif user:
            self.answer(
                200,
                b"200 OK",
                Remote_User=user,
                Remote_Groups="admins,dev",
                Remote_Name="Alice Doe",
                Remote_Email="alice@example.com",
            )
        elif self.headers.get("X-Requested-With") == "XMLHttpRequest":
            self.answer(401, b"401 Unauthorized", Set_Cookie="authelia_session=new; HttpOnly")
        else:
            portal = f"https://auth.example.com/?rd={quote(target, safe='')}&rm={method}"
            body = f'<a href="{portal}">302 Found</a>'.encode()
            status = 302 if method in ("GET", "HEAD", "OPTIONS") else 303
            self.answer(status, body, Location=portal, Set_Cookie="authelia_session=new; HttpOnly")

    def oauth2_proxy(self):
        """The `/oauth2/auth` endpoint with `--set-xauthrequest`: 202 or 401; a session that is refreshed sets cookies."""
        user = self.user("_oauth2_proxy")
        if user:
            cookies = ["_oauth2_proxy_0=a; Path=/; HttpOnly", "_oauth2_proxy_1=b; Path=/; HttpOnly"]
            self.answer(
                202,
                X_Auth_Request_User=user,
                X_Auth_Request_Email=f"{user}@example.com",
                **({"Set_Cookie": cookies} if user == "refreshed" else {}),
            )
        elif self.path == "/oauth2/auth":
            self.answer(401, b"Unauthorized\n", Cache_Control="no-cache, no-store, must-revalidate, max-age=0")
        else:
            uri = self.headers["X-Forwarded-Uri"]
            where = f"https://provider.example.com/authorize?state=abc:{quote(uri, safe='')}"
            self.answer(302, Location=where, Set_Cookie="_oauth2_proxy_csrf=x; Path=/; HttpOnly")

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Authorizer)
    server.daemon_threads = True
    server.serve_forever()
