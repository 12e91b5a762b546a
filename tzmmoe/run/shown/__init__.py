"""What a model shows of itself: its parts in a table, and a picture of how they are joined."""
