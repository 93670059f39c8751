"""The nouns: types, graphs, functions, kernels, programs; each level prints, parses, verifies."""
