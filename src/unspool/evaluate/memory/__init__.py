"""How much a model remembers, on worlds with pose."""
