"""Places, and what is near them."""
