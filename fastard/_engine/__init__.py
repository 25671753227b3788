"""The engine: the only way into compiled code. One evaluation is scale, fill, factor, invert, contract."""
