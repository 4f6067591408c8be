"""The bundled model: ``default.onnx``, its card and its calibration. Data, no code."""
