"""Tables with named columns: frames of pandas and polars, dicts of columns, arrays with a group for each row."""
