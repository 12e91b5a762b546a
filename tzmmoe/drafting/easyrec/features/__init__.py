"""feature_config, whichever form it has -> feature_configs."""
