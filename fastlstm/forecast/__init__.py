"""Forecasting of series in tables: from readings with time stamps to quantiles of what comes next."""
