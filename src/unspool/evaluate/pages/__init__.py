"""What was measured, as pages, pictures and text."""
