"""The seam: what workflows may ask of the world, and how the world may speak to them."""
