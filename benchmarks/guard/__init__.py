"""How often the guard alarms, measured on recorded runs."""
