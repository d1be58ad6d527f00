"""Each contract carried out: translate in, one effect, translate back, name the error. No business decisions."""
