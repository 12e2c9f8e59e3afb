"""`unspool play`: a model in a browser page, live, with keys, pause, rewind and fork."""
