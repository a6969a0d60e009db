"""Studies: many replications of a scenario, stored, compared and estimated.

What they run of the model is ``run_replications`` of ``hwsim.machine``, and ``run_replication`` for a replay;
a script is rehearsed by ``rehearse``, and ``census`` has its pages counted by ``machine_census``.
"""
