"""Layers of tf.keras.layers with Keras's own semantics: axes count the rows as axis 0."""
