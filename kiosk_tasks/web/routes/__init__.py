"""The routes, one module for each group; `app.py` includes them all."""
