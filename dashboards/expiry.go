package dashboards

import "fmt"

// What ends on a day that is known before, and is forgotten all the same.

func certificateEnds(s *sources) *panel {
	return stat("Certificate ends in", "Of all TLS certificates the server shows, the one that ends first: clients that check it turn it "+
		"down then.").
		query(`min(pg_reliability_tls_chain_expiry_timestamp_seconds{$here} - time())`, "").unit("s").decimals(1).
		thresholds(s.below("certificate_ticket_seconds", "certificate_page_seconds")).none("no TLS seen").
		runbooks(s, "PostgresCertificateExpires")
}

func passwordEnds(s *sources) *panel {
	return stat("Password ends in", "Of the role whose password ends next. Roles whose password ended more than "+
		s.say("password_over_seconds")+" ago were ended on purpose.").
		query(fmt.Sprintf(`min(pg_reliability_role_password_expiry_timestamp_seconds{$here} - time() > -%.0f)
  or 0 * max(pg_reliability_roles_password_expired{$here}) - 1`, s.value("password_over_seconds")), "").unit("s").decimals(1).
		word(-1, "never", fine).thresholds(s.below("password_ticket_seconds", "")).none("unknown").runbooks(s, "PostgresPasswordExpires")
}

func clockSkew(s *sources) *panel {
	return stat("Clock skew", "How far the clocks of the server and its exporter are apart, at least. Ages on these boards are off by "+
		"as much.").
		query(`max(clamp_min(abs(pg_reliability_clock_skew_seconds{$here}) - pg_reliability_clock_skew_uncertainty_seconds{$here}, 0))`, "").
		unit("s").decimals(1).
		thresholds(s.above("clock_skew_seconds", "")).none("unknown").runbooks(s, "PostgresClockSkew")
}

func sequencesUsed(s *sources) *panel {
	return stat("Sequences used", "Of the sequence nearest to its end, or its column's. At 100 % the next insert is an error: make the "+
		"column a bigint in time.").
		query(`max(pg_reliability_sequences_worst_used_ratio{$here})`, "").unit("percentunit").decimals(0).
		thresholds(s.above("sequence_ticket_ratio", "sequence_page_ratio")).none("unknown").runbooks(s, "PostgresSequenceNearEnd")
}

func sequenceList(s *sources) *panel {
	return bars("Sequences nearest to their end", "Of all databases that are visited; those that its role may not read are missing.").
		query(`topk(10, pg_reliability_sequence_used_ratio{$here})`, "{{sequencename}} ({{instance}})").unit("percentunit").max(1).
		thresholds(s.above("sequence_ticket_ratio", "sequence_page_ratio")).none("no sequence that can be read").
		runbooks(s, "PostgresSequenceNearEnd")
}

func invalidIndexes(s *sources) *panel {
	return stat("Invalid indexes", "Left behind by a CREATE INDEX CONCURRENTLY that failed: no query uses them, every write pays for them. "+
		"Drop or REINDEX them.").
		query(`sum(pg_reliability_invalid_indexes{$here})`, "").unit("short").decimals(0).thresholds(from(1, ticket)).
		none("unknown").runbooks(s, "PostgresInvalidIndex")
}

func recoveryWork() *panel {
	return stat("Crash recovery replays", "WAL since the last checkpoint, of the server with the most: what a crash would have to replay "+
		"before anybody can log in. Lower max_wal_size makes it less.").
		query(`max(pg_reliability_wal_since_checkpoint_bytes{$here})`, "").unit("bytes").decimals(1).none("unknown")
}
