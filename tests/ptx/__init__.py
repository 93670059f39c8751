"""Running generated PTX on a machine without a GPU."""
