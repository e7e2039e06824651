from gproxy.arbiter.systemd import bind_to
from gproxy.config.types import Address


def test_an_inherited_socket_takes_the_role_of_the_listener_at_its_position():
    listeners = [Address.parse(":80 redirect"), Address.parse(":443 tls=main")]
    assert bind_to([3, 4, 5], listeners) == "fd:3 redirect=443\nfd:4 tls=main\nfd:5 "
    assert bind_to([3], listeners) == "fd:3 redirect=443"
