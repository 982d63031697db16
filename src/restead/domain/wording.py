"""How numbers of things are said to people."""


def count_of(number: int, what: str, many: str = "") -> str:
    """Return `1 disk`, `2 disks`; *many*: the plural, where it is not *what* with an s."""
    return f"{number} {what if number == 1 else many or f'{what}s'}"
