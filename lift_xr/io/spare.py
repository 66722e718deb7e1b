"""What the root says of its run, kept once more beside the record: a damaged root is made of it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

SPARE = "root"  # the attribute of the record's group that holds it


def spare_of(attrs: dict[str, Any]) -> dict[str, Any]:
    """Copy the attributes of a root, with what tells whether the copy is whole."""
    return {"attributes": attrs, "sha256": _digest(attrs)}


def attrs_of(spare: Any) -> dict[str, Any] | None:
    """Take the attributes from a copy; None where it is not whole."""
    if not isinstance(spare, dict) or not isinstance(spare.get("attributes"), dict):
        return None
    attrs: dict[str, Any] = spare["attributes"]
    return attrs if _digest(attrs) == spare.get("sha256") else None


def _digest(attrs: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(attrs, sort_keys=True).encode()).hexdigest()
