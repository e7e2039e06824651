from gproxy.http.buffers import Buffers, Share


def test_all_shares_are_one_sum():
    buffers = Buffers(10)
    one, two = Share(buffers), Share(buffers)
    assert one.add(4) and two.add(5)
    assert not one.add(3)
    assert (buffers.used, buffers.has_room) == (12, False)
    one.release()
    one.release()
    assert (buffers.used, buffers.has_room) == (5, True)
    two.release()
    assert buffers.used == 0


def test_a_bound_of_nothing():
    assert not Share(Buffers(0)).add(0)


def test_pieces_are_small_beyond_the_bound():
    buffers = Buffers(10)
    assert [buffers.piece(size) for size in (1, 120_000)] == [1, 120_000]
    buffers.add(10)
    assert buffers.piece(120_000) == 120_000
    buffers.add(1)
    assert [buffers.piece(size) for size in (1, 16_000, 120_000)] == [1, 16_000, 16_000]
    assert Buffers(0).piece(120_000) == 120_000
