"""A run that starts from another run's weights: all of them, those of a map, or those that fit."""
