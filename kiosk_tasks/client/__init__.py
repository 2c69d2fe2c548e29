"""The Python client: `Client(url).segment("x.tif")`, over HTTP, with nothing of the server."""
