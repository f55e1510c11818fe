"""`cldyn eval`: methods side by side on pairs, as tables and pictures."""

TABLES = {
    "fusion": "fusion metrics of every method",
    "detection": "what a detector makes of every method's images",
    "segmentation": "what a segmentation network makes of them",
    "saliency": "what a saliency network makes of them",
    "cross-detector": "with and without compensation in front of several detectors",
    "complex": "the same pairs dimmed, in rain, fog, noise, glare",
    "ablation": "several weights on all tasks",
    "switch": "whether the task's own plan suits the task best",
    "robustness": "what several sets of weights lose in rain, fog, noise",
    "stream": "plans held over the frames of a sequence against a plan for every frame",
    "efficiency": "parameters, arithmetic, latency, memory",
}
"""What each table shows, by name."""
