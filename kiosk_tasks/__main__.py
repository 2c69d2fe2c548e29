"""`python -m kiosk_tasks` is `kiosk`."""

from kiosk_tasks.cli import main

if __name__ == "__main__":
    main()
