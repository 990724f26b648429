"""The pictures of the guide to the status site: a real tasker, made-up data, a real browser."""
