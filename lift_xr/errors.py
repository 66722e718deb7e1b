"""The three ways an input can be wrong.

All are ``ValueError``. A message says what was found (name, value, unit), what was expected in the
same unit, and what to do next as code the reader can paste.
"""


class GridError(ValueError):
    """The pixels are in the wrong place: CRS, origin, spacing, ratio, overlap, size."""


class SpectralError(ValueError):
    """The bands are wrong: wavelengths, units, coverage by the SRF, count, values."""


class LayoutError(ValueError):
    """The run cannot be laid out: blocks, shards, dtypes, memory, stores that exist."""
