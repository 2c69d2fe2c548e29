"""The web service: REST, live progress, the page, and the API of the old Kiosk's clients."""
