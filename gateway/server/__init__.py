"""An HTTP/1.1 server inside the event loop: no thread between a client's socket and the app. Speaks ASGI."""
