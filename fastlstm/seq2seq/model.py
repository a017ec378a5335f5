"""EncoderDecoder, the public face; the other files of the folder do the work."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from .._arguments import explain_arguments
from .._checks import count, float_type, non_negative, operand_type, short_repr
from .._typing import Array
from ..data import Scaler
from ..data.batching import bounded_batches, case_numbers
from ..data.cases import as_weight, read_inputs
from ..data.sequences import Sequences
from ..inference.evaluate import run_evaluation
from ..inference.inputs import checked_inputs, input_features
from ..inference.outputs import OutputKind, output_kind
from ..layers import Layer
from ..losses import CrossEntropy, Loss
from ..network_model import NetworkModel, checked_layers, drawn_seed
from ..optimizers import Optimizer, TrainingKey
from .cases import PairCases
from .decoding import Decoder, Hypothesis, beam_search, greedy_search
from .network import Encoded, Pair, PairNetwork
from .stream import DecoderStream
from .tokens import Vocabulary, as_ids, target_sequences

if TYPE_CHECKING:
    from ..training.callbacks import Callback
    from ..training.history import History
    from ..training.messages import Communicator

__all__ = ["EncoderDecoder"]


class EncoderDecoder(NetworkModel):
    """An encoder that reads a series, and a decoder that gives a sequence of tokens for it (Sutskever et al. 2014).

    Two stacks of layers: the final states of the encoder's LSTM layers are the initial states of the decoder's, and a
    `LuongAttention` in the decoder reads the encoder's outputs. In training the decoder reads the true tokens (teacher
    forcing), so that whole sequences go through the kernels at once; in prediction it reads its own.

    Parameters
    ----------
    encoder : sequence of Layer
        Begins with an `Embedding` if sources are tokens; otherwise it reads numbers (batch, time, features). It needs
        an output at each step (``return_sequences=True``) if the decoder attends to them.
    decoder : sequence of Layer
        Begins with an `Embedding` and ends with one output for each of its tokens: scores, such as those of a `Dense`,
        or a softmax. Its LSTM layers have the sizes of the encoder's, layer by layer; a bidirectional layer of the
        encoder counts twice, since the states of its directions stand side by side.
    bos, eos : int or str, default 0 and 1
        Tokens of beginning and end, by id or name: the decoder reads `bos` first, and a sequence ends with `eos`. The
        model adds both, so that targets do not hold them. They may be the same token.
    input_size : int, optional
        Number of features of a step of numbers, by default taken from the first data.
    dtype : {"float32", "float64"}, default "float32"
        Type of parameters and computation.
    precision : {"bfloat16", "float32", "float64"}, optional
        Type to which the operands of the LSTM layers' matrix products are rounded, as in `Model`.
    seed : int or None, default 0
        Seed of the initial weights, of dropout, and of the order of the training cases. None draws one.
    scaler : Standardizer or RobustScaler, optional
        Scaling of sources of numbers, as in `Model`; not with missing values.
    source_tokens, target_tokens : sequence of str, optional
        Name of each token, by its id. With them sequences may be given as names: lists of strings, or strings, whose
        characters are the tokens. They are saved with the model.

    Attributes
    ----------
    longest_target : int
        Tokens of the longest target of the training; 0 before it.

    Raises
    ------
    TypeError, ValueError
        If the layers do not fit each other, or an argument is wrong.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> X = np.random.default_rng(0).integers(2, 8, (200, 4))
    >>> Y = X[:, ::-1]  # to be learnt: the same tokens in reverse order
    >>> model = fl.EncoderDecoder(
    ...     encoder=[fl.Embedding(8, 8), fl.LSTM(32, return_sequences=True)],
    ...     decoder=[fl.Embedding(8, 8), fl.LSTM(32, return_sequences=True), fl.LuongAttention(), fl.Dense(8)],
    ... )
    >>> history = model.fit(X, Y, epochs=30, optimizer=fl.Adam(0.01), verbose=0)
    >>> model.predict([[2, 3, 4, 5]])[0].tolist()
    [5, 4, 3, 2]
    """

    target_scaler: Scaler | None = None
    target_shape: tuple[int, ...] | None = None
    feature_names: list[str] | None = None

    @explain_arguments
    def __init__(
        self,
        encoder: Sequence[Layer],
        decoder: Sequence[Layer],
        *,
        bos: int | str = 0,
        eos: int | str = 1,
        input_size: int | None = None,
        dtype: npt.DTypeLike = "float32",
        precision: str | None = None,
        seed: int | None = 0,
        scaler: Scaler | None = None,
        source_tokens: Sequence[str] | None = None,
        target_tokens: Sequence[str] | None = None,
    ) -> None:
        example = "[fl.Embedding(100, 32), fl.LSTM(64, return_sequences=True)]"
        first, second = checked_layers(example, encoder=encoder, decoder=decoder)
        float_dtype = float_type(dtype)
        self.network = PairNetwork(first, second, float_dtype, drawn_seed(seed), operand_type(precision, float_dtype))
        self.scaler = scaler  # which checks that it is one
        if scaler is not None and (scaler.missing != "error" or self.network.takes_tokens):
            raise ValueError(
                "scaler is for sources of numbers without missing values, got "
                f"{'sources of tokens' if self.network.takes_tokens else repr(scaler)}: leave it out"
            )
        self.loss: Loss | None = None
        self.metadata = None
        self.training_key = TrainingKey()
        self.own_optimizer: Optimizer | None = None
        self.longest_target = 0
        self._source = self._vocabulary("source_tokens", source_tokens, self.network.layers[0].num_tokens)
        self._target = self._vocabulary("target_tokens", target_tokens, self.pairs.num_tokens)
        self.bos, self.eos = self._token("bos", bos), self._token("eos", eos)
        if self.takes_tokens:
            if input_size is not None:
                raise ValueError("an encoder that begins with an Embedding has no input_size: leave it out")
            self.network.build(0)
        elif input_size is not None:
            self.network.build(count("input_size", input_size))

    def _vocabulary(self, argument: str, names: Sequence[str] | None, size: int | None) -> Vocabulary | None:
        if names is None:
            return None
        if size is None:
            raise ValueError(f"{argument} are names of tokens, and the encoder reads numbers: leave them out")
        return Vocabulary(argument, names, size)

    def _token(self, name: str, value: int | str) -> int:
        if isinstance(value, str):
            if self._target is None:
                raise ValueError(
                    f"{name} is the name {value!r}, and the model has no target_tokens: give them, or an id"
                )
            return int(self._target.ids([value], name)[0])
        token = count(name, value, least=0)
        if token >= self.pairs.num_tokens:
            raise ValueError(
                f"{name} is {token}, expected an id of the decoder's Embedding, [0, {self.pairs.num_tokens})"
            )
        return token

    # ------------------------------------------------------------------------------------------ properties

    @property
    def pairs(self) -> PairNetwork:
        """`network`, by its type."""
        assert isinstance(self.network, PairNetwork)
        return self.network

    @property
    def encoder(self) -> list[Layer]:
        """The layers of the encoder."""
        return self.pairs.encoder

    @property
    def decoder(self) -> list[Layer]:
        """The layers of the decoder."""
        return self.pairs.decoder

    @property
    def input_size(self) -> int | None:
        """Number of features of a step of the sources; 0 for token ids, None before it is known."""
        return input_features(self) if self.built else None

    @property
    def source_tokens(self) -> list[str] | None:
        """Names of the tokens of the sources, by id."""
        return None if self._source is None else list(self._source.names)

    @property
    def target_tokens(self) -> list[str] | None:
        """Names of the tokens of the targets, by id."""
        return None if self._target is None else list(self._target.names)

    @property
    def classes(self) -> list[str] | None:
        """Names of the outputs: `target_tokens`."""
        return self.target_tokens

    @classes.setter
    def classes(self, value: list[str] | None) -> None:
        assert value == self.target_tokens  # training sets what it has read from the model

    @property
    def output_kind(self) -> OutputKind | None:
        """What the outputs are: ``"class_scores"``, or ``"class_probabilities"`` after a final softmax."""
        return output_kind(self.network, CrossEntropy())

    # ------------------------------------------------------------------------------------------ training

    @explain_arguments
    def fit(
        self,
        X: Sequences | npt.ArrayLike,
        Y: Any,
        *,
        lengths: npt.ArrayLike | None = None,
        target_lengths: npt.ArrayLike | None = None,
        optimizer: Optimizer | str | None = None,
        epochs: int = 10,
        batch_size: int = 32,
        validation_data: tuple[Any, ...] | None = None,
        validation_split: float = 0.0,
        sample_weight: npt.ArrayLike | None = None,
        shuffle: bool = True,
        callbacks: Iterable[Callback] = (),
        verbose: int = 1,
        n_threads: int | None = None,
        seed: int | None = None,
        recompute_every: int | None = None,
        shards: int = 1,
        communicator: Communicator | None = None,
        deadline: float = 600.0,
        resume: str | os.PathLike[str] | bool | None = None,
        on_interrupt: Literal["raise", "return"] = "raise",
    ) -> History:
        """Train the model to give each source its target, by the cross-entropy of the tokens and of the end.

        Another call continues the training, as with `Model.fit`.

        Parameters
        ----------
        X : array (n, T) of token ids or (n, T, F) of numbers, list of (T_i,) or (T_i, F) arrays, or of names
            Sources.
        Y : list of n sequences of token ids or of names, or int array (n, L)
            Targets, without the tokens of beginning and end. A sequence may be empty. The rows of an array are padded
            by -100, or by anything if there are `target_lengths`.
        lengths : int array (n,), optional
            Valid steps of each source of an array.
        target_lengths : int array (n,), optional
            Tokens of each target of an array.
        optimizer : Optimizer or str, optional
            By default ``Adam(lr=1e-3)``; see `Model.fit`. ``clip_norm=1.0`` helps with long sequences.
        epochs, batch_size, shuffle, callbacks, verbose, n_threads, seed, recompute_every, resume, on_interrupt
            As in `Model.fit`.
        shards, communicator, deadline
            As in `Model.fit`: the pairs of a batch computed in parts, by one process or by several, each of which is
            given all pairs.
        validation_data : (X, Y), or (X, Y, lengths, target_lengths), optional
            Data on which loss and accuracy are measured after each epoch, with true tokens as input.
        validation_split : float in [0, 1), default 0
            Share of the cases that is kept for validation.
        sample_weight : array (n,), optional
            Weight of each case, >= 0.

        Returns
        -------
        History
            ``"loss"``, the mean over all tokens and ends, ``"accuracy"``, the share of them that are the most probable
            ones, the same for validation data, and ``"lr"``.

        Raises
        ------
        TypeError, ValueError
            If an argument or the data do not fit; nothing has changed then.
        TrainingDiverged
            If loss or weights become NaN or infinite.
        RuntimeError
            If the model is frozen.
        """
        from ..training import loop  # here, because a process that only predicts does without the training
        from ..training.settings import Settings
        from .training import training_data

        self.network.parameters.require_unfrozen("fit")
        settings = Settings.checked(
            self.seed,
            self.own_optimizer,
            loss="cross_entropy",
            optimizer=optimizer,
            epochs=epochs,
            batch_size=batch_size,
            validation_split=validation_split,
            class_weight=None,
            shuffle=shuffle,
            callbacks=callbacks,
            verbose=verbose,
            metrics=None,
            n_threads=n_threads,
            seed=seed,
            recompute_every=recompute_every,
            tbptt_steps=None,
            shards=shards,
            partitioned=False,
            communicator=communicator,
            deadline=deadline,
            resume=resume,
            on_interrupt=on_interrupt,
        )

        def data(_reduce: object) -> Any:
            train = self._pairs(X, Y, lengths, target_lengths, sample_weight, training=True)
            self.network.parameters.require_trainable()
            validation = self._validation_pairs(validation_data)
            prepared = training_data(self.pairs, train, validation, settings)
            self.longest_target = max(self.longest_target, int(train.targets.numbers.max()))  # type: ignore[union-attr]
            return prepared

        return loop.fit(self, settings, data)

    def _validation_pairs(self, validation_data: Any) -> PairCases | None:
        if validation_data is None:
            return None
        if not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (2, 3, 4):
            raise ValueError(
                f"validation_data must be (X, Y), or (X, Y, lengths, target_lengths), got {short_repr(validation_data)}"
            )
        X, Y, lengths, target_lengths = (*validation_data, None, None)[:4]
        return self._pairs(X, Y, lengths, target_lengths, None, names=("validation X", "validation Y"))

    def _pairs(
        self,
        X: Any,
        Y: Any,
        lengths: Any,
        target_lengths: Any,
        sample_weight: Any,
        *,
        training: bool = False,
        names: tuple[str, str] = ("X", "Y"),
    ) -> PairCases:
        inputs = self._sources(X, lengths, names[0], training=training)
        targets = target_sequences(
            Y, target_lengths, len(inputs), self.pairs.num_tokens, self.bos, self.eos, self._target, names[1]
        )
        return PairCases(inputs, targets, as_weight(sample_weight, inputs, False), self.bos, self.eos)

    def _sources(self, X: Any, lengths: Any, name: str = "X", *, training: bool = False) -> Sequences:
        given = as_ids(X, self._source, name, "source_tokens") if self.takes_tokens else X
        return checked_inputs(self, given, lengths, name, training=training)

    @explain_arguments
    def evaluate(
        self,
        X: Sequences | npt.ArrayLike,
        Y: Any,
        *,
        lengths: npt.ArrayLike | None = None,
        target_lengths: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
        batch_size: int = 256,
        n_threads: int | None = None,
    ) -> dict[str, float]:
        """Return loss and accuracy of the tokens and ends, with the true tokens as input, as `fit` measures them.

        Parameters
        ----------
        X, Y, lengths, target_lengths, sample_weight
            As in `fit`.
        batch_size : int, default 256
            Largest number of cases computed at a time.
        n_threads : int, optional
            Threads to use; by default as configured.

        Returns
        -------
        dict of str to float
            ``"loss"`` and ``"accuracy"``. To know how many answers are right as a whole, compare those of `predict`
            with the targets.

        Raises
        ------
        TypeError, ValueError
            If the data do not fit.
        RuntimeError
            If the model has no weights.
        """
        cases = self._pairs(X, Y, lengths, target_lengths, sample_weight)
        return run_evaluation(self, cases, CrossEntropy(), {}, count("batch_size", batch_size), n_threads)

    # ------------------------------------------------------------------------------------------ prediction

    @explain_arguments
    def predict(
        self,
        X: Sequences | npt.ArrayLike,
        lengths: npt.ArrayLike | None = None,
        *,
        beam: int = 1,
        max_length: int | None = None,
        length_penalty: float = 0.6,
        batch_size: int = 256,
        n_threads: int | None = None,
    ) -> list[Array]:
        """Return for each source the sequence that the decoder gives.

        Parameters
        ----------
        X, lengths
            Sources, as in `fit`.
        beam : int, default 1
            Number of candidates that are followed side by side (beam search). 1: the most probable token at each step.
        max_length : int, optional
            Largest number of tokens of an answer, where it is cut; by default twice that of the longest target of the
            training.
        length_penalty : float >= 0, default 0.6
            Exponent of the length by which log-probabilities are divided in a beam search (Wu et al. 2016), since each
            token makes them smaller. 0: no penalty. Larger: longer answers.
        batch_size : int, default 256
            Largest number of candidates computed at a time; it does not change the result.
        n_threads : int, optional
            Threads to use; by default as configured.

        Returns
        -------
        list of ndarray
            The tokens (L_i,), int64, without those of beginning and end.

        Raises
        ------
        TypeError, ValueError
            If an argument or the data do not fit, or there is no `max_length` and the model has not been trained here.
        RuntimeError
            If the model has no weights.
        """
        n_best = 1
        found = self._search(X, lengths, beam, max_length, length_penalty, n_best, batch_size, n_threads)
        return [one[0].tokens for one in found]

    @explain_arguments
    def predict_tokens(
        self,
        X: Sequences | npt.ArrayLike,
        lengths: npt.ArrayLike | None = None,
        *,
        beam: int = 1,
        max_length: int | None = None,
        length_penalty: float = 0.6,
        batch_size: int = 256,
        n_threads: int | None = None,
    ) -> list[list[str]]:
        """Return what `predict` returns as names of tokens; ``"".join(answer)`` if they are characters.

        Parameters
        ----------
        X, lengths, beam, max_length, length_penalty, batch_size, n_threads
            As in `predict`.

        Returns
        -------
        list of list of str

        Raises
        ------
        ValueError
            If the model has no `target_tokens`; else as `predict`.
        """
        if self._target is None:
            raise ValueError("the model has no names of tokens: use predict, or give it target_tokens=[...]")
        found = self.predict(
            X,
            lengths,
            beam=beam,
            max_length=max_length,
            length_penalty=length_penalty,
            batch_size=batch_size,
            n_threads=n_threads,
        )
        return [self._target.text(tokens) for tokens in found]

    @explain_arguments
    def beam_search(
        self,
        X: Sequences | npt.ArrayLike,
        lengths: npt.ArrayLike | None = None,
        *,
        beam: int = 5,
        max_length: int | None = None,
        length_penalty: float = 0.6,
        n_best: int | None = None,
        batch_size: int = 256,
        n_threads: int | None = None,
    ) -> list[list[Hypothesis]]:
        """Return for each source the best sequences that a beam search finds, with their probabilities.

        Parameters
        ----------
        X, lengths, beam, max_length, length_penalty, batch_size, n_threads
            As in `predict`.
        n_best : int, optional
            Largest number of sequences for each source, at most `beam`, which is the default.

        Returns
        -------
        list of list of Hypothesis
            Tuples ``(tokens, log_probability, score, ended)``, the one of the highest score first. ``ended`` is False
            for a sequence that was cut at `max_length`.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            As `predict`.
        """
        beam = count("beam", beam)
        n_best = beam if n_best is None else count("n_best", n_best)
        if n_best > beam:
            raise ValueError(f"n_best is {n_best}, expected at most the number of candidates, beam={beam}")
        return self._search(X, lengths, beam, max_length, length_penalty, n_best, batch_size, n_threads)

    def _search(
        self,
        X: Any,
        lengths: Any,
        beam: int,
        max_length: int | None,
        length_penalty: float,
        n_best: int,
        batch_size: int,
        n_threads: int | None,
    ) -> list[list[Hypothesis]]:
        beam, rows = count("beam", beam), count("batch_size", batch_size)
        penalty = non_negative("length_penalty", length_penalty)
        longest = 2 * self.longest_target if max_length is None else count("max_length", max_length)
        if not longest:
            raise ValueError("it is not known how long the answers may be: pass max_length, a number of tokens")
        self.network.require_built()
        if X.shape[:1] == (0,) if isinstance(X, np.ndarray) else isinstance(X, (list, tuple)) and not X:
            return []
        inputs = self._sources(X, lengths)
        decoder = Decoder(self.pairs, n_threads)
        found: dict[int, list[Hypothesis]] = {}
        for numbers, encoded in self._encoded(inputs, max(1, rows // beam), n_threads):
            if beam == 1:
                answers = [[one] for one in greedy_search(decoder, encoded, self.bos, self.eos, longest)]
            else:
                answers = beam_search(decoder, encoded, self.bos, self.eos, longest, beam, penalty, n_best)
            found.update(zip(numbers.tolist(), answers, strict=True))
        return [found[k] for k in range(len(inputs))]

    def _encoded(
        self, inputs: Sequences, batch_size: int, n_threads: int | None
    ) -> Generator[tuple[Array, Encoded], None, None]:
        """Yield for each batch of sources their numbers and what the decoder needs of them."""
        for chosen in bounded_batches(inputs, batch_size):
            x, ends, masks = read_inputs(inputs, chosen, self.dtype, self.scaler)
            yield case_numbers(chosen), self.pairs.encode(x, ends, masks, n_threads)

    def forward(
        self,
        X: Sequences | npt.ArrayLike,
        Y: Any,
        lengths: npt.ArrayLike | None = None,
        target_lengths: npt.ArrayLike | None = None,
        n_threads: int | None = None,
    ) -> Array:
        """Return what the decoder gives when it reads these targets: all cases in one pass.

        Parameters
        ----------
        X, Y, lengths, target_lengths
            As in `fit`.
        n_threads : int, optional
            Threads to use; by default as configured.

        Returns
        -------
        ndarray, shape (n, L + 1, tokens)
            The output after the beginning and after each token of the target, zeros behind a shorter one.

        Raises
        ------
        TypeError, ValueError
            If the data do not fit.
        RuntimeError
            If the model has no weights.
        """
        pair, steps = self._pair(X, Y, lengths, target_lengths)
        out: Array = self.pairs.forward(pair, steps, False, n_threads).copy()
        if steps is not None:
            out[np.arange(out.shape[1]) >= steps[:, None]] = 0
        return out

    def attention_weights(
        self,
        X: Sequences | npt.ArrayLike,
        Y: Any,
        lengths: npt.ArrayLike | None = None,
        target_lengths: npt.ArrayLike | None = None,
        n_threads: int | None = None,
    ) -> Array:
        """Return what the first `LuongAttention` takes of each step of the sources, for these targets.

        Parameters
        ----------
        X, Y, lengths, target_lengths, n_threads
            As in `forward`.

        Returns
        -------
        ndarray, shape (n, L + 1, T)
            The weights of a row sum to 1, and are 0 for padding. Steps that the encoder masks are left out.

        Raises
        ------
        ValueError
            If the decoder has no such layer; else as `forward`.
        """
        if not self.pairs.attends:
            raise ValueError("the decoder has no fl.LuongAttention: there are no weights")
        pair, steps = self._pair(X, Y, lengths, target_lengths)
        self.pairs.forward(pair, steps, False, n_threads)
        weights: Array = self.pairs.attention_weights().copy()
        return weights

    def _pair(self, X: Any, Y: Any, lengths: Any, target_lengths: Any) -> tuple[Pair, Array | None]:
        """Return all cases as one batch, and the steps of the decoder for each."""
        cases = self._pairs(X, Y, lengths, target_lengths, None)
        batch = cases.read(slice(0, len(cases)), self.dtype, self.scaler)
        pair: Any = batch.x
        return pair, batch.lengths

    @explain_arguments
    def stream(
        self, X: Sequences | npt.ArrayLike, lengths: npt.ArrayLike | None = None, n_threads: int | None = None
    ) -> DecoderStream:
        """Return the decoder for some sources as a stream, which is given one token at a time.

        Parameters
        ----------
        X, lengths
            Sources, as in `fit`, which are encoded at once.
        n_threads : int, optional
            Threads to use; by default as configured.

        Returns
        -------
        DecoderStream
            ``stream.step(tokens)`` with tokens (n,), `bos` first, returns scores (n, tokens): those of `forward`, to
            the bit.

        Raises
        ------
        TypeError, ValueError
            If the data do not fit.
        RuntimeError
            If the model has no weights.
        """
        inputs = self._sources(X, lengths)
        x, ends, masks = read_inputs(inputs, slice(0, len(inputs)), self.dtype, self.scaler)
        return DecoderStream(self.pairs, self.pairs.encode(x, ends, masks, n_threads), n_threads)

    # ------------------------------------------------------------------------------------------ files

    def __repr__(self) -> str:
        return f"EncoderDecoder({self.encoder!r}, {self.decoder!r}, bos={self.bos}, eos={self.eos})"

    def _own_config(self) -> dict[str, Any]:
        return {
            "bos": self.bos,
            "eos": self.eos,
            "source_tokens": self.source_tokens,
            "target_tokens": self.target_tokens,
            "longest_target": self.longest_target,
        }
