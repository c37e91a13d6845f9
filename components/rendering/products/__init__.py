"""Twelve categories of products; each builds its surfaces from a form and eight numbers between 0 and 1."""
