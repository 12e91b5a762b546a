"""Tasks: what a model learns from the logits of its towers, and how that is measured.

``task`` is one output with its label, losses and metrics; ``relations`` says how an output and its
label come from several towers and labels; ``task_set`` holds all tasks of a model.
"""
