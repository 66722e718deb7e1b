"""Fine hyperspectral scenes from a coarse cube and a fine mosaic, at any size."""
