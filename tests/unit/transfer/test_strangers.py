"""What a user loses if one fails: a new node that can't join while somebody storms the port."""

from dfedge.transfer.strangers import (
    MAX_HANDSHAKES,
    MAX_OF_ONE,
    MAX_STRANGERS,
    REPLACED_PER_S,
    WASTED_S,
    Stranger,
    Strangers,
)


class Port:
    """A port, the time there, and who was told to leave."""

    def __init__(self) -> None:
        self.now = 100.0
        self.left: list[str] = []
        self.strangers = Strangers(lambda: self.now)

    def stranger(self, host: str) -> Stranger:
        return Stranger(host, lambda: self.left.append(host))

    def comes(self, host: str) -> bool:
        return self.strangers.admit(self.stranger(host))

    def speaks(self, host: str) -> bool:
        stranger = self.stranger(host)
        assert self.strangers.admit(stranger)
        return self.strangers.speaks(stranger)

    def full_of_handshakes(self) -> None:
        for number in range(MAX_HANDSHAKES):
            assert self.speaks(f"h{number}")


def test_the_silent_make_room_at_once_and_the_longest_silent_first() -> None:
    port = Port()
    for number in range(MAX_STRANGERS):
        assert port.comes(f"s{number}")
    assert port.comes("new")
    assert port.left == ["s0"]


def test_one_address_takes_few_places() -> None:
    port = Port()
    assert [port.comes("one") for _ in range(MAX_OF_ONE + 1)] == [True] * MAX_OF_ONE + [False]


def test_handshakes_leave_places_to_those_who_have_not_spoken_yet() -> None:
    port = Port()
    port.full_of_handshakes()
    assert all(port.comes(f"s{number}") for number in range(2 * MAX_STRANGERS))
    assert all(host.startswith("s") for host in port.left)


def test_an_address_that_wasted_a_handshake_leaves_first_and_makes_nobody_leave() -> None:
    port = Port()
    wasteful = port.stranger("h7")
    port.strangers.wasted(wasteful)
    port.full_of_handshakes()
    assert port.speaks("good")
    assert port.left == ["h7"]
    assert not port.speaks("h7")
    port.strangers.known("h7")
    assert port.speaks("h7")
    assert port.left == ["h7", "h0"]
    assert not port.speaks("h0")
    port.now += WASTED_S + 1
    assert port.speaks("h0")


def test_a_storm_costs_a_bounded_number_of_handshakes_a_second() -> None:
    port = Port()
    port.full_of_handshakes()
    assert sum(port.speaks(f"n{number}") for number in range(3 * REPLACED_PER_S)) == REPLACED_PER_S
    port.now += 1.0
    assert port.speaks("later")
