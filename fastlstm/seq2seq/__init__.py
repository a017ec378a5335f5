"""Encoders and decoders, two chains of layers joined by states: translation and other sequence-to-sequence work."""
