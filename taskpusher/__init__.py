"""TaskPusher gets long work out of a web request: push a URL, get a uid, go on."""

__version__ = "0.1.0"
