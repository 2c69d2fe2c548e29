"""How the models that ship with kiosk-tasks were made; nothing here is needed to run them."""
