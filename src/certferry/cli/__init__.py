"""The certferry command: one module for each noun. Holds no rules."""
