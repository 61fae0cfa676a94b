"""The worker's process, which owns the models: the line of jobs, who is drawn together, and each job from its request
to its files.

    __main__   the pipe to the daemon: jobs in, events out
    line       what waits
    company    serves the line: who begins, who joins, who ends   (batch, costs: whether joining is fair)
    worker     one job, stage by stage                            (shelf, underway, reporter, filling, raw_takes)
    matching   what was made becomes the job's stems              (targets, takes)
"""
