"""Tasks: what a model learns from the logits of its towers, and how that is measured.

``task`` holds one output with its label, losses and metrics, and the set of all of a model's;
``relations`` makes an output and its label of several towers and labels.
"""
