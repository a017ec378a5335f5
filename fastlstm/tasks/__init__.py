"""Recipes for whole tasks: from series and targets to a trained model. They need no other package.

The estimators of `fastlstm.sklearn` and the command line are made of them.
"""
