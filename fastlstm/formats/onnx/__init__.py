"""ONNX files: models out of them (`fastlstm.from_onnx`), into them (`Model.to_onnx`), and their backend interface."""
