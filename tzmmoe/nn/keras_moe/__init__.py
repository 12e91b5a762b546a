"""MMoE with the arguments of a Keras layer, as a module of torch. Keras itself is not needed."""
