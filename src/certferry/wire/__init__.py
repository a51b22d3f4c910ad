"""Bytes to values and back: pure codecs of everything that crosses a wire or lies in a file. No trust decisions."""
