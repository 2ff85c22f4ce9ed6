"""The problems that come along: one file each, chosen by name with `--task`."""
