"""Contracts between the parts: formats, the decoder, the search. Free of torch, kfp, mlflow, kserve and evidently."""
