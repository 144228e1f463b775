"""Plugins and settings of the whole suite."""

import hypothesis

pytest_plugins = ["tests.conformance.plugin"]

# How long an example takes says more about the machine than about the code: a stall must not fail a property.
hypothesis.settings.register_profile("suite", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("suite")
