package dashboards

const noContainer = "no container known"

// containerRow is what the engine says of the databases' containers.
func containerRow(s *sources) row {
	return section("Container",
		across(4, containerRuns(s), containerHealth(), containerRestarts(s), containerKilled(s), containerAge(), containerMemory(s)))
}

func containerRuns(s *sources) *panel {
	return stat("Container", "Whether the database's container runs. HALTED: paused, restarting or stopped.").
		query(`min(pg_reliability_container_running{$here})`, "").word(1, "RUNNING", fine).word(0, "HALTED", page).
		none(noContainer).runbooks(s, "PostgresDown")
}

func containerHealth() *panel {
	return stat("Its health check", "The container's own. It asks whether the server answers at all; the probes of the board Overview "+
		"ask more.").
		query(`2 * max(pg_reliability_container_health{$here, status="unhealthy"}) + max(pg_reliability_container_health{$here, status="starting"})`, "").
		word(0, "HEALTHY", fine).word(1, "STARTING", ticket).word(2, "UNHEALTHY", page).word(3, "UNHEALTHY", page).none("no health check")
}

func containerRestarts(s *sources) *panel {
	return stat("Restarts by its engine", "By its restart policy, in the time shown. Restarts somebody ordered are not among them.").
		query(`round(sum(increase(pg_reliability_restarts_total{$here, kind="container"}[$__range]) and on (job, cluster, instance) pg_reliability_container_running{$here}))`, "").
		decimals(0).thresholds(from(1, ticket)).none(noContainer).runbooks(s, "PostgresContainerRestarted")
}

func containerKilled(s *sources) *panel {
	return stat("Killed for want of memory", "Whether the container's last end was that; newer engines also say so of a process in the "+
		"present run.").
		query(`max(pg_reliability_container_oom_killed{$here})`, "").word(0, "NO", fine).word(1, "YES", ticket).
		none(noContainer).runbooks(s, "PostgresContainerOOMKilled")
}

func containerAge() *panel {
	return stat("Runs for", "Since the container's newest start, whoever ordered it.").
		query(`time() - max(pg_reliability_container_start_timestamp_seconds{$here})`, "").unit("s").decimals(1).none(noContainer)
}

func containerMemory(s *sources) *panel {
	return stat("Memory limit", "Of the container with the least. What the server may use at most must stay below: shared_buffers, and "+
		"work_mem for each sort of each session.").
		query(`min(pg_reliability_container_memory_limit_bytes{$here})`, "").unit("bytes").decimals(1).none("no limit").
		runbooks(s, "PostgresContainerOOMKilled")
}
