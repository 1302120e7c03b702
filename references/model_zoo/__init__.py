"""The sections of MODEL_ZOO.md, each from the cards of its kind and the tables of detzoo; and its picture."""
