"""ONNX: nodes, the float operations, and the model for ONNX Runtime."""
