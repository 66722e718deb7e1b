"""Pixels floor: an endless made-up city, drawn where somebody looks.

``materials`` knows spectra, ``plan`` what stands where, ``landscape`` paints a tile of it, and
``survey`` is what three instruments see of it.
"""
