"""Text or JSON <-> protobuf message. Nothing here knows a field by name."""
