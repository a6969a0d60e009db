"""Scenario files: TOML checked against a schema and compiled to :class:`hwsim.spec.Spec`."""

from __future__ import annotations

from hwsim.scenario.json_schema import schema_json
from hwsim.scenario.load import Scenario, load
from hwsim.scenario.problems import Problem, ScenarioError

__all__ = ["Problem", "Scenario", "ScenarioError", "load", "schema_json"]
