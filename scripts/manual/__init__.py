"""The man page and the shells' completion, made from the very parsers that read a command line."""
