"""What may be moved, in words: the same in `status`, `throttle show` and `top`."""

from dfedge.cli.field import Document, number, word
from dfedge.core.units import duration, line_rate


def most(document: Document, key: str) -> str:
    """A limit in bytes/s; null is none."""
    return "no limit" if document.get(key) is None else line_rate(number(document, key))


def ways(throttle: Document) -> str:
    """`up 20 Mbit/s, down no limit`."""
    return f"up {most(throttle, 'budget_up')}, down {most(throttle, 'budget_down')}"


def paused(throttle: Document) -> str:
    """`paused for 2 h: by command`, or nothing."""
    if not word(throttle, "paused"):
        return ""
    left = number(throttle, "pause_left")
    return f"paused{f' for {duration(left)}' if left else ''}: {word(throttle, 'paused')}"


def resume(throttle: Document) -> str:
    """How to end a pause that a command began."""
    return "      try: dfedge throttle resume" if word(throttle, "paused_by") == "command" else ""


def reason(throttle: Document) -> str:
    """The one reason, with the setting that would change it; nothing where nothing holds."""
    if throttle.get("budget_up") is None and throttle.get("budget_down") is None:
        return ""
    setting = f" ({word(throttle, 'setting')})" if word(throttle, "setting") else ""
    return f"{word(throttle, 'reason')}{setting}" if word(throttle, "reason") else ""


def standing(throttle: Document) -> str:
    """All of it in a line."""
    if throttle.get("enabled") is False:
        return "off"
    if paused(throttle):
        return paused(throttle)
    why = reason(throttle)
    if throttle.get("budget_up") is None and throttle.get("budget_down") is None:
        return "no limit"
    return f"{ways(throttle)}: {why}" if why else ways(throttle)
