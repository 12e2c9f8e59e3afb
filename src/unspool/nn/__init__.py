"""Layers that know nothing of video generation: norms, rotary positions, masks, attention."""
