"""The experiments of Hochreiter & Schmidhuber (1997), Long Short-Term Memory, Neural Computation 9(8), and later tasks.

The paper's tasks and criteria with the LSTM cell of today, by one recipe for all. A trial presents new sequences until
the criterion is met, and counts them. Module by module: `tasks`, `grammar` and `later` draw the sequences; `criteria`
says when a task is learnt; `recipe` has the network and its training; `trial` is one trial; `experiments` lists
all experiments, with the paper's figures; `run` and `results` run the trials that are missing, with a file for each;
`report` and `pictures` show the results.
"""
