"""What the lab is made of: one module for each recipe, and the names of what they make."""
