"""The experiments of Hochreiter & Schmidhuber (1997), Long Short-Term Memory, Neural Computation 9(8), and later tasks.

The paper's tasks and criteria with the LSTM cell of today, by one recipe for all. A trial presents new sequences until
the criterion is met, and counts them. Module by module: `tasks`, `grammar` and `later` draw the sequences; `criteria`
say when a task is learnt; `recipe` has the network and its training; `trial` is one trial; `experiments` lists what
there is, with the paper's figures; `run` and `results` run what is missing, with a file for each trial; `report` and
`pictures` show it.
"""
