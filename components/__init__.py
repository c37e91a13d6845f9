"""The steps of the pipeline, in the order in which data flows through them.

catalogue → labelling → training → embedding → indexing → evaluation → registration

`shared` holds the contracts that both sides of a boundary need. Steps never import each other: they meet through
artifacts whose formats stand in `components.shared`. Only a step's `component.py` knows Kubeflow Pipelines.
"""

VERSION = "0.2.0"  # of the product; the formats have versions of their own (CHANGELOG.md)
