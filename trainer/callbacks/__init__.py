"""What happens between calls on the device, in both loops: Keras callbacks, this project's own."""
