"""Numbers in the arrays of compiled trees."""

LEAF = -1  # the feature of a leaf
ZERO, NAN = 1, 2  # which values are missing, as LightGBM writes it; 0: none, and NaN is read as zero
