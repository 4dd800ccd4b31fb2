package dashboards

// These panels show what logical slots decode and what subscriptions apply, on the board Replication.

func slotDecoded() *panel {
	return series("Decoded for subscribers", "What logical slots decoded a second. PostgreSQL 14 and newer count it.").
		query(`rate(pg_reliability_slot_decoded_bytes_total{$here}[$__rate_interval])`, "{{slot_name}} {{instance}}").
		query(`rate(pg_reliability_slot_transactions_total{$here}[$__rate_interval])`, "transactions {{slot_name}} {{instance}}").
		of("B", property{"custom.axisPlacement", "right"}, property{"unit", "short"}, lineStyle(4, 4)).
		unit("binBps").none("no logical slots")
}

func slotOverflow() *panel {
	return series("Decoding beyond its memory", "Transactions larger than logical_decoding_work_mem: written to disk and read again "+
		"(spilled), or sent before their end (streamed), which is better. Much spilled: raise it, or let the subscription stream.").
		query(`rate(pg_reliability_slot_spilled_bytes_total{$here}[$__rate_interval])`, "spilled {{slot_name}} {{instance}}").
		query(`rate(pg_reliability_slot_streamed_bytes_total{$here}[$__rate_interval])`, "streamed {{slot_name}} {{instance}}").
		of("B", lineStyle(4, 4)).
		unit("binBps").none("no logical slots")
}

func slotOverflowList() *panel {
	return table("Slots that decode", "In the time shown: how often decoding ran out of memory, and for how many "+
		"transactions.").
		label("instance", "Instance").label("slot_name", "Slot").
		column("Spills", `increase(pg_reliability_slot_spills_total{$here}[$__range])`, unit("locale"), width(80)).
		column("of transactions", `increase(pg_reliability_slot_spilled_transactions_total{$here}[$__range])`, unit("locale")).
		column("Streams", `increase(pg_reliability_slot_streams_total{$here}[$__range])`, unit("locale"), width(80)).
		column("of transactions.", `increase(pg_reliability_slot_streamed_transactions_total{$here}[$__range])`, unit("locale")).
		sorted("Spills").none("no logical slots")
}

func subscriptionTrouble(s *sources) *panel {
	return series("Subscriptions: errors", "In each step. An apply error comes again every few seconds until somebody mends its cause: the "+
		"server's log has it. PostgreSQL 15 and newer count them.").
		query(`increase(pg_reliability_subscription_apply_errors_total{$here}[$__rate_interval])`, "apply {{subname}} {{instance}}").
		query(`increase(pg_reliability_subscription_sync_errors_total{$here}[$__rate_interval])`, "first copy {{subname}} {{instance}}").
		unit("short").none("no subscriptions").runbooks(s, "PostgresSubscriptionBroken")
}
