"""Django's admin under gunicorn, behind the gateway with TLS: login with CSRF, secure cookies, redirects."""

import json
import os
import re
import subprocess
import sys

import pytest
from programs import APPS, SETTINGS, gunicorn, succeed

from gproxy.testing.authority import Authority
from gproxy.testing.gateway import RunningGateway, free_port

TLS = """
[tls:shop]
certificate = {tmp}/shop.example.com.crt
key = {tmp}/shop.example.com.key
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("django")
    environ = {**os.environ, "APP_FOLDER": str(folder)}
    subprocess.run([sys.executable, str(APPS / "django_site.py")], env=environ, check=True, timeout=50)
    authority = Authority(folder)
    authority.issue("shop.example.com")
    secure, plain = free_port(), free_port()
    words = ("--bind", f"127.0.0.1:{secure} tls", "--bind", f"127.0.0.1:{plain}")
    settings = SETTINGS.replace("[gateway]\n", "[gateway]\ntrusted_proxies = 127.0.0.3\n") + TLS
    with gunicorn(folder, "django_site:application", "--worker-class", "gthread", "--threads", "2") as port:
        with RunningGateway(settings.format(port=port, tmp=folder), folder, *words) as gateway:
            yield Browser(folder, secure, plain, authority.path)
        assert gateway.process.returncode == 0


class Browser:
    """curl with cookies, which takes the gateway for shop.example.com."""

    def __init__(self, folder, secure, plain, ca):
        self.folder, self.plain = folder, plain
        self.origin = f"https://shop.example.com:{secure}"
        resolve = f"shop.example.com:{secure}:127.0.0.1"
        self.common = ["curl", "-sS", "--max-time", "20", "--cacert", str(ca), "--resolve", resolve]

    def ask(self, path, *arguments, jar="jar"):
        jar = str(self.folder / jar)
        return succeed(*self.common, "-c", jar, "-b", jar, *arguments, self.origin + path).decode()

    def behind_a_proxy(self, path, *fields, source):
        """What a TLS proxy at this address gets from the gateway."""
        given = [word for field in fields for word in ("-H", field)]
        return succeed("curl", "-sS", "--interface", source, *given, f"http://127.0.0.1:{self.plain}{path}").decode()


def test_a_login_with_csrf(site):
    page = site.ask("/admin/login/?next=/admin/", "--compressed")
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)[1]
    form = ["username=alice", "password=wonder", "next=/admin/", f"csrfmiddlewaretoken={token}"]
    login = [word for value in form for word in ("--data-urlencode", value)]
    shown = ("-o", "/dev/null", "-w", "%{http_code} %{redirect_url}")

    evil = site.ask("/admin/login/", *login, "-H", "Origin: https://evil.example.com", *shown)
    assert evil == "403 "
    good = site.ask("/admin/login/", *login, "-H", f"Origin: {site.origin}", *shown)
    assert good == f"302 {site.origin}/admin/"
    assert "Site administration" in site.ask("/admin/")
    cookies = (site.folder / "jar").read_text()
    assert {"csrftoken", "sessionid"} <= set(cookies.split())
    assert "TRUE" in re.search(r"^.*\tsessionid\t", cookies, re.M)[0]  # secure: sent over TLS only


def test_a_referer_is_enough_for_clients_without_origin(site):
    page = site.ask("/admin/login/", jar="second")
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)[1]
    data = f"username=alice&password=wonder&next=/admin/&csrfmiddlewaretoken={token}"
    shown = ("-o", "/dev/null", "-w", "%{http_code}")
    referer = ("--referer", f"{site.origin}/admin/login/")
    assert site.ask("/admin/login/", "--data", data, *referer, *shown, jar="second") == "302"
    assert site.ask("/admin/login/", "--data", data, *shown, jar="second") == "403"


def test_the_site_knows_its_address_and_its_client(site):
    assert json.loads(site.ask("/address?a=1")) == {
        "url": f"{site.origin}/address?a=1",
        "client": "127.0.0.1",
        "prefix": "",
    }


def test_a_client_cannot_claim_https_or_another_host(site):
    """Django would redirect in a circle, or write links to a host of the attacker."""
    forged = ("-H", "X-Forwarded-Proto: http", "-H", "X-Forwarded-Host: evil.example.com", "-H", "X-Real-IP: 10.0.0.1")
    answer = json.loads(site.ask("/address", *forged))
    assert answer == {"url": f"{site.origin}/address", "client": "127.0.0.1", "prefix": ""}


def test_behind_a_further_proxy_the_site_sees_what_that_one_reports(site):
    reported = (
        "Host: shop.example.com",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: shop.example.com",
        "X-Forwarded-For: 192.0.2.9",
    )
    answer = json.loads(site.behind_a_proxy("/address", *reported, source="127.0.0.3"))
    assert answer == {"url": "https://shop.example.com/address", "client": "192.0.2.9", "prefix": ""}
    assert site.behind_a_proxy("/address", *reported, source="127.0.0.1") == ""  # Django redirects to https
