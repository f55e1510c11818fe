"""How good a fused image is, and what a task network makes of it."""
