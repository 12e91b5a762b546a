"""Tasks: what a model learns from the logits of its towers, and how that is measured.

``task`` holds one output with its label, losses and metrics, ``taskset`` all of a model together;
``relations`` makes an output and its label of several towers and labels.
"""
