"""The window when many peers share a link that is not full, and when it is."""

from dfedge.throttle.window import LEAST_PER_PEER, ROOM_PER_PEER, ROOM_S, Window

CAPACITY = 1.5e6  # bytes/s
TARGET_S = 0.008
QUEUE_S = 0.030  # of a path that queues, far over the target


def settled(delay_s: float, peers: int, spare: float) -> float:
    window = Window()
    for _ in range(100):
        window.step(delay_s, delay_s + 0.0005, 0.5 * CAPACITY, peers, TARGET_S, 0.0, spare)
    return window.size


def test_many_peers_are_not_kept_from_filling_a_link_that_nobody_fills() -> None:
    assert settled(QUEUE_S, 16, CAPACITY) >= 0.6 * ROOM_S * CAPACITY  # it swings by two fifths where it is large enough
    assert settled(QUEUE_S, 2, CAPACITY) >= 0.6 * 2 * ROOM_PER_PEER


def test_a_full_link_queues_no_longer_than_it_must() -> None:
    assert settled(QUEUE_S, 16, 0.0) == 16 * LEAST_PER_PEER


def test_rooms_of_many_peers_do_not_swamp_a_thin_link() -> None:
    assert settled(QUEUE_S, 200, CAPACITY) <= max(200 * LEAST_PER_PEER, 1.25 * ROOM_S * CAPACITY)
