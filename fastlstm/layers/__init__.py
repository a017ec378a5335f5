"""Layers of a model."""

from __future__ import annotations

from .activation import Activation as Activation
from .base import Layer as Layer
from .base import ParameterSpec as ParameterSpec
from .base import Signal as Signal
from .base import stages_describe_forward as stages_describe_forward
from .concat_pool import ConcatPool as ConcatPool
from .context import LayerCache as LayerCache
from .context import PassContext as PassContext
from .conv import Conv1D as Conv1D
from .dense import Dense as Dense
from .deviations import Deviations as Deviations
from .differences import Differences as Differences
from .dropout import Dropout as Dropout
from .embedding import Embedding as Embedding
from .input_masks import InputMasks as InputMasks
from .lstm import LSTM as LSTM
from .masked import backward_masked as backward_masked
from .masked import forward_masked as forward_masked
from .masked_steps import MaskedSteps as MaskedSteps
from .masking import Masking as Masking
from .noise import GaussianNoise as GaussianNoise
from .pooling import AttentionPool as AttentionPool
from .pooling import LastStep as LastStep
from .pooling import MaxPool as MaxPool
from .pooling import MeanPool as MeanPool
from .pooling import Pool as Pool
from .registry import copied_layer as copied_layer
from .registry import layer_config as layer_config
from .registry import layer_from_config as layer_from_config
from .registry import register as register
from .registry import registered_layers as registered_layers
from .repeat import RepeatVector as RepeatVector
from .reverse import Reverse as Reverse
from .stack import connect as connect
from .stack import stack_parameters as stack_parameters
from .stack import takes_tokens as takes_tokens
from .stacking import StackSteps as StackSteps
from .stages import Stage as Stage
from .stages import StageState as StageState
from .stages import join_stages as join_stages
from .stages import scaling_stage as scaling_stage
from .states import checked_states as checked_states
from .states import finite as finite
