"""Dataflow: how work is laid over a chip. Which pixels are streamed, which tiles follow each other, what stays."""
