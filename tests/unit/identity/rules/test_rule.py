from ipaddress import ip_network

import pytest

from gproxy.identity.rules.rule import Rule, Word


def words(text):
    return Rule.parse(text).words


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("anyone", Word("anyone")),
        ("user", Word("user")),
        ("user:alice", Word("user", ("alice",))),
        ("method:GET|HEAD", Word("method", ("GET", "HEAD"))),
        ("route:orders|users", Word("route", ("orders", "users"))),
        ("issuer:https://a.example", Word("issuer", ("https://a.example",))),
        ("by:jwt", Word("by", ("jwt",))),
        ("role:clerk|lead", Word("role", ("clerk", "lead"))),
        ("scope:orders.read", Word("scope", ("orders.read",))),
        ("claim:plan", Word("claim", (), "plan")),
        ("claim:plan=pro|free", Word("claim", ("pro", "free"), "plan")),
        ("claim:realm_access.roles=admin", Word("claim", ("admin",), "realm_access.roles")),
        ("claim:https://example.com/roles=a=b", Word("claim", ("a=b",), "https://example.com/roles")),
        ("mtls.user:edge-1", Word("user", ("edge-1",), handler="mtls")),
        ("mtls.user", Word("user", handler="mtls")),
        ("my.mtls.claim:a.b=c", Word("claim", ("c",), "a.b", "my.mtls")),
        ("10.0.0.0/8", Word("address", ("10.0.0.0/8",), networks=(ip_network("10.0.0.0/8"),))),
        ("::ffff:10.0.0.0/104", Word("address", ("10.0.0.0/8",), networks=(ip_network("10.0.0.0/8"),))),
        ("2001:db8::1", Word("address", ("2001:db8::1/128",), networks=(ip_network("2001:db8::1/128"),))),
    ],
)
def test_each_word(text, word):
    assert words(text) == (word,)


def test_alternatives_of_networks():
    assert words("10.0.0.0/8|::1")[0].networks == (ip_network("10.0.0.0/8"), ip_network("::1/128"))


def test_several_words_must_all_hold():
    assert [word.kind for word in words("scope:a  scope:b\trole:c 10.0.0.0/8")] == ["scope", "scope", "role", "address"]


def test_double_quotes_enclose_blanks_commas_and_bars():
    (word,) = words('claim:"a dept"="Sales, EU|x"|B')
    assert (word.name, word.values) == ("a dept", ("Sales, EU|x", "B"))
    assert words('role:"a user:b"|"c d" user')[0].values == ("a user:b", "c d")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("role=admin", "'role=admin' is no word of a rule; write role:admin"),
        ("rol:admin", "'rol:admin' is no word of a rule; did you mean 'role:'?"),
        ("method:GET usr", "'usr' is no word of a rule; did you mean 'user'?"),
        ("jwt.scop:a", "'jwt.scop:a' is no word of a rule; did you mean 'scope:'?"),
        ("claims:a=b", "'claims:a=b' is no word of a rule; did you mean 'claim:'?"),
        ("all", "'all' is no word of a rule; write anyone"),
        ("valid-user", "'valid-user' is no word of a rule; write user"),
        ("localhost", "'localhost' is no address; write 127.0.0.0/8, ::1/128"),
        ("10.0.0.300", "'10.0.0.300' is no address; expected one such as 10.0.0.0/8"),
        ("10.0.*", "'10.0.*' is no address; write 10.0.0.0/16"),
        ("role", "'role' has no value; write role:NAME"),
        ("claim:=x", "'claim:=x' has no name; write claim:NAME or claim:NAME=VALUE"),
        ("role:a||b", "'role:a||b': a value is empty"),
        ("claim:a=", "'claim:a=': a value is empty"),
        ("user:*", "'user:*': * is no pattern; any is user or claim:NAME, and the sign itself is \"*\""),
        ("claim:a=b|*", "'claim:a=b|*': * is no pattern; any is user or claim:NAME, and the sign itself is \"*\""),
        (".user:x", "'.user:x' begins with a dot; write HANDLER.user, or user alone"),
        ("role:a|user:b", "'role:a|user:b': '|' separates values; write 'user:b' in a rule of its own"),
        ("method:get", "'method:get': methods are upper case; write method:GET"),
        ("scope:ä", "'scope:ä': 'ä' is no scope"),
        ('scope:"a b"', """'scope:"a b"': 'a b' is no scope"""),
        ("jwt.method:GET", "'jwt.method:GET': method is not asked of a handler's identity; write method:GET"),
        ("jwt.by:x", "'jwt.by:x': by is not asked of a handler's identity; write by:HANDLER"),
        ('role:"a', "a double quote is not closed"),
        ('"role:a b"', """'"role:a b"': double quotes enclose a value, as in role:"a b\""""),
        (" ", "a rule has one word or more"),
    ],
)
def test_a_mistake_names_the_word_and_what_to_write(text, message):
    with pytest.raises(ValueError) as caught:
        Rule.parse(text)
    assert str(caught.value) == message


@pytest.mark.parametrize("text", ["user:a user:b", "method:GET method:POST", "route:a route:b", "jwt.user jwt.user:a"])
def test_two_words_of_which_a_request_meets_one_at_most(text):
    kind = text.split(":")[0].removeprefix("jwt.").split(" ")[0]
    with pytest.raises(ValueError, match=rf"{kind} stands there twice; write {kind}:A\|B"):
        Rule.parse(text)


def test_networks_without_a_comma_between_them():
    with pytest.raises(ValueError, match=r"a client has one address; write A\|B, or a comma between two rules"):
        Rule.parse("10.0.0.0/8 192.168.0.0/16")


def test_the_same_word_for_two_identities():
    assert len(words("user:alice mtls.user:edge-1 cert.user:x")) == 3
