"""A made-up data set of clicks and conversions whose best possible AUC is known."""
