"""What `--mode` chooses: one file each, with `run(config)`."""
