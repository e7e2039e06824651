import json

import pytest

from gproxy.identity.tokens.protected_resource import ProtectedResource


@pytest.mark.parametrize(
    ("resource", "path"),
    [
        ("https://api.example.com", "/.well-known/oauth-protected-resource"),
        ("https://api.example.com/", "/.well-known/oauth-protected-resource"),
        ("https://api.example.com/mcp", "/.well-known/oauth-protected-resource/mcp"),
        ("https://api.example.com:8443/a/b/", "/.well-known/oauth-protected-resource/a/b/"),
        ("http://localhost:8080/mcp", "/.well-known/oauth-protected-resource/mcp"),
        ("http://[::1]:8080", "/.well-known/oauth-protected-resource"),
    ],
)
def test_where_the_document_is(resource, path):
    found = ProtectedResource(resource, ["https://id.example"], [])
    assert found.path == path
    assert found.url == resource.split("/", 3)[0] + "//" + resource.split("/")[2] + path


def test_the_document():
    found = ProtectedResource("https://api.example.com/mcp", ["https://id.example"], ["read", "write"])
    assert json.loads(found.document) == {
        "resource": "https://api.example.com/mcp",
        "authorization_servers": ["https://id.example"],
        "scopes_supported": ["read", "write"],
        "bearer_methods_supported": ["header"],
    }


def test_members_without_a_value_are_omitted():
    assert json.loads(ProtectedResource("https://api.example.com", [], []).document) == {
        "resource": "https://api.example.com",
        "bearer_methods_supported": ["header"],
    }


@pytest.mark.parametrize(
    ("resource", "problem"),
    [
        ("api.example.com", "is no URL of a resource; expected one such as https://api.example.com/mcp"),
        ("", "is no URL"),
        ("https://", "is no URL"),
        ("https://api.example.com/a?b", "is no URL"),
        ("https://api.example.com/#a", "is no URL"),
        ('https://api.example.com/"', "is no URL"),
        ("https://me@api.example.com/", "is no URL"),
        ("https://api.example.com/a b", "is no URL"),
        ("http://api.example.com/", "is not encrypted; expected https://"),
        ("http://localhost.example.com/", "is not encrypted"),
        ("http://127.0.0.1.example.com/", "is not encrypted"),
    ],
)
def test_wrong_resources(resource, problem):
    with pytest.raises(ValueError, match=f"^{resource!r} {problem}".replace("?", r"\?")):
        ProtectedResource(resource, [], [])
