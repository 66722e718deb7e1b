"""Bytes, lengths of time and counts, as people write them."""

from __future__ import annotations


def size(count: float) -> str:
    """Write a number of bytes as people do.

    Examples
    --------
    >>> size(164_000_000), size(999)
    ('164 MB', '999 B')
    """
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            break
        count /= 1000
    return f"{count:.3g} {unit}" if count < 1000 else f"{count:.0f} {unit}"


def span(seconds: float) -> str:
    """Write a length of time as people do.

    Examples
    --------
    >>> span(42), span(750), span(9000), span(400_000)
    ('42 s', '12 min', '2.5 h', '4.6 d')
    """
    if seconds < 7200:
        return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86400:.1f} d"


def counted(count: int, what: str) -> str:
    """Write how many there are of something.

    Examples
    --------
    >>> counted(1, "thread"), counted(1254, "shard")
    ('1 thread', '1,254 shards')
    """
    return f"{count:,} {what}{'' if count == 1 else 's'}"
