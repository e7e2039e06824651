"""Sticky sessions: who comes with a cookie, who leaves with a new one, and what it says."""

import stat

import pytest

from gproxy.config.types import Seconds, Secret
from gproxy.http.request import request
from gproxy.http.response import Response
from gproxy.upstream.sticky import StickyUpstream

SECRET = Secret("0123456789abcdef")


class Browser:
    """Keeps the cookie, and asks through the upstream's own handler as a chain would."""

    def __init__(self, group, **words):
        self.group = group
        self.cookie = ""
        self.words = words

    def asked(self):
        headers = {"Cookie": f"theme=dark; {self.cookie}"} if self.cookie else {}
        return request(headers={**headers, **self.words})

    def get(self, tried=""):
        """The backend's letter, and the Set-Cookie there was."""

        def forward(request):
            name = self.group.pick(request, tried)
            request.backend = f"{name}:80"
            return Response(200)

        asked = self.asked()
        response = self.group.upstream.handlers[0](asked, forward)
        set_cookie = response.headers.get("Set-Cookie", "")
        if set_cookie:
            self.cookie = set_cookie.partition(";")[0]
        return asked.backend[0], set_cookie


def sticky(group, words="a,b,c", **options):
    found = group(words, kind=StickyUpstream, balance="sticky", **{"sticky_secret": SECRET, **options})
    found.upstream.open()
    return found


def test_a_client_stays_where_it_was_and_gets_one_cookie(group):
    abc = sticky(group)
    ann, bob = Browser(abc), Browser(abc)
    assert ann.get()[0] == "a"
    assert bob.get()[0] == "b"
    for _ in range(5):
        assert ann.get() == ("a", "")
        assert bob.get() == ("b", "")


def test_the_cookie_says_nothing_and_scripts_cannot_read_it(group):
    _, cookie = Browser(sticky(group)).get()
    value, *attributes = cookie.split("; ")
    assert attributes == ["Path=/", "HttpOnly", "SameSite=Lax"]
    name, _, token = value.partition("=")
    assert name == "sticky_u"
    assert len(token) == 22
    assert "a:80" not in cookie


@pytest.mark.parametrize(
    ("options", "headers", "expected"),
    [
        ({"sticky_cookie": "where"}, {}, "where="),
        ({"sticky_ttl": Seconds(3600)}, {}, "; Max-Age=3600; HttpOnly"),
        ({"sticky_same_site": "Strict"}, {}, "; SameSite=Strict"),
        ({"sticky_secure": "yes"}, {}, "; SameSite=Lax; Secure"),
        ({}, {"X-Forwarded-Proto": "https"}, "; SameSite=Lax; Secure"),
        ({}, {"X-Forwarded-Proto": "HTTPS"}, "; SameSite=Lax; Secure"),
    ],
)
def test_the_cookie_is_as_the_settings_say(group, options, headers, expected):
    assert expected in Browser(sticky(group, **options), **headers).get()[1]


@pytest.mark.parametrize(
    ("options", "scheme", "secure"),
    [({}, "https", True), ({}, "http", False), ({"sticky_secure": "no"}, "https", False)],
)
def test_secure_if_the_client_came_over_https(group, options, scheme, secure):
    abc = sticky(group, **options)
    asked = request()
    asked.scheme = scheme
    asked.backend = "a:80"
    cookie = abc.upstream.handlers[0](asked, lambda request: Response(200)).headers["Set-Cookie"]
    assert cookie.endswith("; Secure") == secure


def test_whose_backend_is_gone_gets_another_and_a_cookie_for_it(group):
    abc = sticky(group)
    ann = Browser(abc)
    assert ann.get()[0] == "a"
    before = ann.cookie
    abc.lose("a")
    moved, cookie = ann.get()
    assert moved != "a" and cookie
    assert ann.get() == (moved, "")
    abc.regain("a")
    assert ann.get() == (moved, "")
    assert ann.cookie != before


def test_a_retry_elsewhere_moves_the_client(group):
    abc = sticky(group)
    ann = Browser(abc)
    ann.get()
    moved, cookie = ann.get(tried="a")
    assert moved != "a" and cookie


def test_a_full_backend_is_not_waited_for(group):
    abc = sticky(group, max_connections=1)
    ann = Browser(abc)
    ann.get()
    abc["a"].active = 1
    assert ann.get()[0] != "a"


def test_a_draining_backend_keeps_its_clients_and_gets_no_new_ones(group):
    before, after = sticky(group), sticky(group, "a drain,b,c")
    ann = Browser(before)
    assert ann.get()[0] == "a"
    ann.group = after
    assert ann.get() == ("a", "")
    assert {Browser(after).get()[0] for _ in range(6)} == {"b", "c"}
    after.lose("a")
    assert ann.get()[0] in "bc"


def test_a_backend_that_is_found_later_keeps_its_clients_too(group):
    before, after = sticky(group, "a,b"), sticky(group, "c")
    ann = Browser(after)
    assert ann.get()[0] == "c"
    before.upstream.replace([*before.upstream.backends, after["c"]])
    ann.group = before
    assert ann.get() == ("c", "")


def test_a_backend_that_is_down_keeps_no_client(group):
    ann = Browser(sticky(group))
    ann.get()
    ann.group = sticky(group, "a down,b,c")
    assert ann.get()[0] in "bc"


@pytest.mark.parametrize(
    "cookie",
    [
        "sticky_u=",
        "sticky_u=a:80",
        "sticky_u=AAAAAAAAAAAAAAAAAAAAAA",
        "sticky_u",
        "other=1",
        'sticky_u="',
        "sticky_u=\xff",
    ],
)
def test_a_made_up_cookie_is_no_cookie(group, cookie):
    abc = sticky(group)
    ann = Browser(abc)
    ann.cookie = cookie
    found, given = ann.get()
    assert found == "a" and given
    assert ann.get() == ("a", "")


def test_the_fallback_is_the_policy_for_new_clients(group):
    abc = sticky(group, sticky_fallback="first")
    assert [Browser(abc).get()[0] for _ in range(3)] == ["a", "a", "a"]


def test_the_same_secret_gives_the_same_cookie_and_another_upstream_another(group):
    one, two = Browser(sticky(group)), Browser(sticky(group))
    assert one.get()[1] == two.get()[1]
    other = Browser(sticky(group, sticky_secret=Secret("another secret, as long")))
    assert one.get() == ("a", "") and other.get()[1].partition("=")[2] != one.cookie.partition("=")[2]


def test_a_secret_of_our_own_is_kept_for_its_owner_only(group, tmp_path):
    cookies = []
    for _ in range(2):  # two starts
        abc = group("a,b", kind=StickyUpstream, balance="sticky", state_dir=tmp_path)
        abc.upstream.open()
        cookies.append(Browser(abc).get()[1])
    assert cookies[0] == cookies[1]
    assert stat.S_IMODE((tmp_path / "sticky_u.secret").stat().st_mode) == 0o600


def test_a_secret_that_cannot_be_stored_is_reported(group, tmp_path):
    (tmp_path / "file").write_text("")
    abc = group("a", kind=StickyUpstream, balance="sticky", state_dir=tmp_path / "file")
    with pytest.raises(ValueError, match="sticky_secret: it cannot be stored in"):
        abc.upstream.open()
    assert not abc.upstream._greenlets  # nothing was started
