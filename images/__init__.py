"""What the container images hold, and how it gets there: the same steps with Docker and without.

`install` is what the Dockerfile's builder stages run. `tree` runs it without Docker, for a test and
for the figures in docs/images.md. See docs/decisions/0012-images.md.
"""
