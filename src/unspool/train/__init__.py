"""Training: objectives, and the loop that takes a system, a source of clips and a run folder."""
