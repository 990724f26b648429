"""What a tasker does in a second, in a megabyte and beside its peers: `python -m bench` measures it here."""
