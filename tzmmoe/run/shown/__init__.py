"""What a run shows of its model and its steps: parts in a table, a picture of them, and a trace."""
