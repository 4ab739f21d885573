"""The pictures of the documentation: a real stack, brought into each state of the page."""
