"""Measures that need other people's weights, given by path, and the export for VBench."""
