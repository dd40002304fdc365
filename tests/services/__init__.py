"""Real servers for tests: a Slurm cluster of one node and OpenSSH, on loopback, without systemd or Docker."""
