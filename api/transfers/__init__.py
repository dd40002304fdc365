"""Files of jobs for whoever runs them elsewhere: who may, the input as it goes, outputs as they come."""
