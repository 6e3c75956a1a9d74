"""runspec: declarative tests for fine-tuning templates that train on RunPod through FineTune Lab."""

__version__ = "0.1.0"
