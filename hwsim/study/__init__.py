"""Studies: many replications of a scenario, stored, compared and estimated.

The only name taken from the model is ``hwsim.machine.run_replication``.
"""
