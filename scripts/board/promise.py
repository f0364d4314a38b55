"""What a demonstration or a benchmark promises, and how it says that something was not so."""


class Broken(Exception):
    """Something is not as promised, or can't be shown here; the text says what, in one line."""


def promise(holds: bool, otherwise: str) -> None:
    """Raises Broken with the text unless it holds."""
    if not holds:
        raise Broken(otherwise)
