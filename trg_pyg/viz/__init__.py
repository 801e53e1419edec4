"""Pictures of graphs, trainings and predictions; each function imports matplotlib (extra ``viz``) when it is called."""
