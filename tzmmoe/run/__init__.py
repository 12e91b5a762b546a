"""A whole run of a config in its model_dir: training, evaluation, and what they leave there."""
