"""Weights from PyTorch (`fastlstm.from_torch`) and back to it (`Model.to_torch_state_dict`)."""
