"""Model files that Keras wrote (`fastlstm.from_keras`)."""
