"""Parameters of a run that takes seconds; its gate only reports, since ten pictures decide nothing."""

SMALL = [
    "training.epochs=1", "training.architecture=resnet10", "training.training_side=56", "training.dimension=16",
    "training.batch_pairs=8", "training.precision=fp32", "training.threads=1", "evaluation.resamples=100",
    "evaluation.map_images=0", "evaluation.gate=report", "evaluation.report_queries=2", "evaluation.threads=1",
]  # fmt: skip
