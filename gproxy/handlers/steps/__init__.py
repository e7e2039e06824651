"""What the handlers of nearly all requests do, compiled; the folder above has their options."""
