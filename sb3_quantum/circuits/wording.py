"""Wording of messages."""


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """
    Write a number with its noun, in the singular or in the plural.

    :param number: the number
    :param noun: what is counted, in the singular; a verb may follow it
    :param plural: the same in the plural; ``noun`` with an s by default
    :return: such as ``"1 cell"`` or ``"2,000 cells"``
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
