package dashboards

// diskIO: how much is written and read, by whom, and does the disk keep up?
func diskIO(s *sources) board {
	return board{
		uid: "pgr-io", title: "IO, WAL, checkpoints", known: "pg_up",
		about: "How much is written and read, by whom, and does the disk keep up? With several instances chosen, each number of the first row " +
			"is the worst of theirs.",
		rows: []row{
			section("Does the disk keep up?",
				across(4, walRateNow(), walOnDisk(), checkpointsHourly(s), syncShare(), tempNow(s), archiveState(s)),
			),
			section("How much WAL is made, and of what?",
				across(8, walRate(), walParts(), walFiles()),
				across(8, walTime(), walBuffersFull(), recoveryWorkHistory()),
			),
			section("Do checkpoints come when they should?",
				across(8, checkpointsHistory(s), checkpointTime(), buffersWritten()),
			),
			section("Who reads and writes?",
				across(8, databaseReads(), databaseIOTime(), cacheHits()),
				across(8, ioRead(), ioWritten(), ioTime()),
				across(6, ioSwitchedOn()),
			),
			section("Do the small caches suffice?",
				across(8, slruReads(), slruHits()),
			),
			section("Does WAL leave the server, and do queries fit into memory?",
				across(8, archiveStates(s), archiveQueue(s), tempFiles(s)),
			),
		},
	}
}

func walRateNow() *panel {
	return stat("WAL rate", "Now, of the server with the most. The network to the standbys and the archive must carry it.").
		query(`max(rate(pg_reliability_wal_position_bytes_total{$here}[$__rate_interval]))`, "").unit("binBps").decimals(1).
		thresholds(plain(neutral)).none("unknown")
}

func syncShare() *panel {
	return stat("Checkpoints sync", "Share of the time shown that checkpoints spent waiting for the disk to have their files. More than a "+
		"few percent: it does not keep up.").
		query(`max(increase(pg_reliability_checkpoint_sync_seconds_total{$here}[$__range]) / $__range_s)`, "").unit("percentunit").decimals(1).
		thresholds(plain(neutral)).none("unknown")
}

func tempNow(s *sources) *panel {
	return stat("Temporary files", "Written by queries that don't fit into work_mem, a second, over the time shown, by the database with "+
		"the most. The alert's limit is "+s.say("temp_bytes_per_second")+".").
		query(`max(increase(pg_stat_database_temp_bytes{$here, datname!~"template[01]"}[$__range]) / $__range_s)`, "").unit("binBps").decimals(1).
		thresholds(s.above("temp_bytes_per_second", "")).none("unknown").runbooks(s, "PostgresTempFiles")
}

func walParts() *panel {
	return series("Records and full pages", "After a checkpoint the first change of each page writes the page as a whole. Many full pages: "+
		"checkpoints come too often. PostgreSQL 14 and newer count them.").
		query(`rate(pg_reliability_wal_records_total{$here}[$__rate_interval])`, "records {{instance}}").
		query(`rate(pg_reliability_wal_full_page_images_total{$here}[$__rate_interval])`, "full pages {{instance}}").
		of("B", property{"custom.axisPlacement", "right"}).
		unit("ops").none("not counted")
}

func walTime() *panel {
	return series("Time in WAL", "Seconds spent writing and syncing WAL in each second, by all sessions together. Each commit waits for "+
		"it. Measured where track_wal_io_timing is on, in PostgreSQL 14 and newer.").
		query(`rate(pg_reliability_wal_write_seconds_total{$here}[$__rate_interval])`, "write {{instance}}").
		query(`rate(pg_reliability_wal_sync_seconds_total{$here}[$__rate_interval])`, "sync {{instance}}").
		unit("short").softMax(0.1).none("not measured: track_wal_io_timing is off")
}

func walBuffersFull() *panel {
	return series("WAL buffers full", "Times a session had to write WAL itself because wal_buffers was full. More than now and then: make "+
		"it larger. PostgreSQL 14 and newer count them.").
		query(`rate(pg_reliability_wal_buffers_full_total{$here}[$__rate_interval])`, "{{instance}}").unit("ops").softMax(1).none("not counted")
}

func recoveryWorkHistory() *panel {
	return series("Crash recovery replays", "WAL since the last checkpoint: what a crash would have to replay before anybody can log in.").
		query(`pg_reliability_wal_since_checkpoint_bytes{$here}`, "{{instance}}").unit("bytes").none("unknown")
}

func databaseReads() *panel {
	return series("Blocks read", "From the kernel or the disk, because shared buffers had them not: the eight databases with most.").
		query(`topk(8, rate(pg_stat_database_blks_read{$here, datname!~"|template[01]"}[$__rate_interval]))`, "{{datname}} {{instance}}").
		unit("ops").none("unknown")
}

func databaseIOTime() *panel {
	return series("Time in reads and writes", "Seconds spent in each second by all sessions of a database together, of the four with most. "+
		"Measured where track_io_timing is on.").
		query(`topk(4, rate(pg_reliability_database_read_seconds_total{$here}[$__rate_interval]))`, "read {{datname}} {{instance}}").
		query(`topk(4, rate(pg_reliability_database_write_seconds_total{$here}[$__rate_interval]))`, "write {{datname}} {{instance}}").
		of("B", lineStyle(4, 4)).
		unit("short").softMax(0.1).none("not measured: track_io_timing is off")
}

const (
	ioEvery = "30s" // how often it is read
	noIO    = "off, see below"
)

func ioRead() *panel {
	return series("Read by", "Kinds of processes and what they read for: vacuum and bulkread go through a small ring of buffers, normal is "+
		"everybody else.").
		query(`topk(8, sum by (backend_type, context) (rate(pg_reliability_io_read_bytes_total{$here}[$__rate_interval])))`,
			"{{backend_type}} {{context}}").every(ioEvery).
		unit("binBps").none(noIO)
}

func ioWritten() *panel {
	return series("Written by", "Writes by client backends should be few: they write when nobody else made room, and their query waits "+
		"for it.").
		query(`topk(8, sum by (backend_type, object) (rate(pg_reliability_io_write_bytes_total{$here}[$__rate_interval])))`,
			"{{backend_type}} {{object}}").every(ioEvery).
		unit("binBps").none(noIO)
}

func ioTime() *panel {
	return series("Time in the disk", "Seconds spent in each second by all processes of a kind together. Reads and writes are measured "+
		"where track_io_timing is on.").
		query(`topk(4, sum by (backend_type) (rate(pg_reliability_io_read_seconds_total{$here}[$__rate_interval])))`, "read {{backend_type}}").
		every(ioEvery).
		query(`topk(4, sum by (backend_type) (rate(pg_reliability_io_write_seconds_total{$here}[$__rate_interval])))`, "write {{backend_type}}").
		every(ioEvery).
		query(`topk(4, sum by (backend_type) (rate(pg_reliability_io_fsync_seconds_total{$here}[$__rate_interval])))`, "sync {{backend_type}}").
		every(ioEvery).
		unit("short").softMax(0.1).none(noIO)
}

func ioSwitchedOn() *panel {
	return text("Where the three panels above are empty", "The collector stat_io is off by default.",
		"The three panels above read `pg_stat_io`, which PostgreSQL has from 16 on. It is several hundred series from each server, so it is "+
			"off by default. "+
			"To switch it on, start the exporter with `--collector.stat_io`.\n\nTimes are measured with `track_io_timing = on`, and those of WAL "+
			"with `track_wal_io_timing = on`. "+
			"`pg_test_timing` says what reading the clock costs on that machine; on most it is nothing that one notices.")
}

func slruReads() *panel {
	return series("Reads of small caches", "Blocks of transaction status, subtransactions, multixacts and the like that had to be read "+
		"from disk: the eight caches with most. "+
		"Many of subtransaction or multixact: an application uses many savepoints or row locks, and all wait.").
		query(`topk(8, rate(pg_reliability_slru_reads_total{$here}[$__rate_interval]))`, "{{slru}} {{instance}}").unit("ops").softMax(1).
		none("unknown")
}

func slruHits() *panel {
	return series("Found in small caches", "Share of the blocks that were asked for, of the eight caches with the lowest. What nobody asks "+
		"for has none.").
		query(`bottomk(8, rate(pg_reliability_slru_hits_total{$here}[$__rate_interval]) / (rate(pg_reliability_slru_hits_total{$here}[$__rate_interval]) + rate(pg_reliability_slru_reads_total{$here}[$__rate_interval]) > 0))`, "{{slru}} {{instance}}").
		unit("percentunit").max(1).none("unknown")
}
