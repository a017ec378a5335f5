"""Tables in CSV files, with NumPy alone: read right, or refused with the line number."""
