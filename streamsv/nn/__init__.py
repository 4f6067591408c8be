"""The student network in torch: streaming layers, the causal model, its export, and the paper's
own non-causal network as an offline reference (:mod:`streamsv.nn.paper`).

Nothing that runs imports this room: at run time the same network is one ONNX file, stepped by
:mod:`streamsv.encoder`.
"""
