"""`cldyn bench`: the paper's order and this project's engine, turn by turn in one run."""
