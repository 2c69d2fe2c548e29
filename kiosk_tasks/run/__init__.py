"""How a job is run: as Celery tasks (`chain`), or in this process (`local`)."""
