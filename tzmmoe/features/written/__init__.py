"""How cells write what they mean: numbers with marks, lists that a program printed, dates."""
