"""ONNX graphs run node by node in onnxruntime and watched: the same operators as from PyTorch, without PyTorch."""
