"""Side by side with the libraries a user would pick instead. `make bench` runs them all."""
