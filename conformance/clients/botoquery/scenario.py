"""The scenario of boto3 with the last versions that speak the Query protocol."""

import os
import runpy

runpy.run_path(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "boto3", "scenario.py"))
