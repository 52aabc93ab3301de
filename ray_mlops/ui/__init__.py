"""The console: a small web application over one run root, drawn on the server, with no script in it."""
