"""`python -m python_core`: which engine is in use, and why."""

import python_core

print(f"barstorm {python_core.__version__}: {python_core.engine} engine; {python_core.engine_reason}")
