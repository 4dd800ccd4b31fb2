package dashboards

// settings: is the server set up as it should be, and who may come in how?
func settings(s *sources) board {
	return board{
		uid: "pgr-settings", title: "Settings and security", known: "pg_up",
		about: "Is the server set up as it should be, did somebody change it, is it too old, and who may come in how?",
		rows: []row{
			section("Does anything risk the data, or wait?",
				across(4, unsafeSettings(s), pendingRestart(s), minorBehind(s), majorEnded(), plainSessions(), weakPasswords()),
			),
			section("What was changed?",
				across(8, settingsChanged(), settingsNotDefault()),
				across(7, unsafeList(s)),
			),
			section("How old is it?",
				across(8, versionList(), extensionList()),
			),
			section("Who may come in?",
				across(8, powerfulRoles(), sessionsEncrypted(), roleLimits()),
				across(8, failedLogins(), tlsSessions()),
			),
		},
	}
}

func minorBehind(s *sources) *panel {
	return stat("Minor releases behind", "Of the server that is furthest behind, at least, by this exporter's list of releases, "+
		"whose age stands "+
		"below; unknown where that is above 100 days. Each mends faults, and some holes.").
		query(`max(pg_reliability_minor_releases_behind{$here})`, "").unit("short").decimals(0).thresholds(from(1, ticket)).none("unknown").
		runbooks(s, "PostgresMinorReleaseBehind")
}

func majorEnded() *panel {
	return stat("Major version", "ENDED: the community mends nothing in it any more.").
		query(`max(pg_reliability_major_version_ended{$here})`, "").word(0, "MENDED", fine).word(1, "ENDED", ticket).none("unknown")
}

func plainSessions() *panel {
	return stat("Sessions without TLS", "Over the network, now.").
		query(`sum(pg_reliability_plain_sessions{$here})`, "").unit("short").decimals(0).thresholds(plain(neutral)).none("unknown")
}

func weakPasswords() *panel {
	return stat("MD5 passwords", "Roles whose password is kept as an MD5 hash. Such hashes are as good as the password, and PostgreSQL "+
		"takes "+
		"them away in time. Only a superuser may see them.").
		query(`sum(pg_reliability_md5_passwords{$here})`, "").unit("short").decimals(0).thresholds(from(1, ticket)).
		none("the exporter's role may not see it")
}

func settingsChanged() *panel {
	return series("Settings that were changed", "1 where something among all settings became another than a moment before. The "+
		"server's log and "+
		"pg_settings say which.").
		query(`changes(pg_reliability_settings_hash{$here}[$__rate_interval])`, "{{instance}}").every("1m").unit("short").steppy().none("unknown")
}

func settingsNotDefault() *panel {
	return series("Settings that are not PostgreSQL's own", "Their number. Servers of a cluster should agree.").
		query(`pg_reliability_settings_not_default{$here}`, "{{instance}}").unit("short").noMin().steppy().none("unknown")
}

func unsafeList(s *sources) *panel {
	return table("Settings that risk the data", "Off, they lose or corrupt data after a crash, or let tables rot. Files were loaded: "+
		"the last "+
		"reload or start.").
		label("instance", "Instance").label("setting", "Setting").
		column("State", `pg_reliability_setting_unsafe{$here}`, mapped(wordFor("0", "on", fine, 0), wordFor("1", "OFF", ticket, 1)), filled()).
		column("Files were loaded", `pg_reliability_setting_unsafe{$here} * 0 + on (job, cluster, instance) group_left () `+
			`pg_reliability_settings_loaded_timestamp_seconds{$here} * 1000`, unit("dateTimeFromNow")).
		sorted("State").none("unknown").runbooks(s, "PostgresUnsafeSetting")
}

func versionList() *panel {
	return table("Servers", "Their versions, and what is in force. The date is that of the exporter's table of releases: what came "+
		"later it "+
		"does not know.").
		label("instance", "Instance").label("server_version", "Version").
		column("Behind", `max by (job, cluster, instance) (pg_reliability_minor_releases_behind{$here}) + on (job, cluster, instance) group_right () `+
			`0 * pg_reliability_server_info{$here}`, unit("locale")).
		column("Releases known of", `max by (job, cluster, instance) (pg_reliability_minor_releases_known_timestamp_seconds{$here}) * 1000 `+
			`+ on (job, cluster, instance) group_right () 0 * pg_reliability_server_info{$here}`, unit("dateTimeFromNow")).
		sorted("Behind").none("unknown")
}

func extensionList() *panel {
	return table("Extensions behind their files", "Installed in a database in an older version than the server has files for: "+
		"ALTER EXTENSION ... UPDATE.").
		label("instance", "Instance").label("datname", "Database").label("name", "Extension").label("installed_version", "Installed").
		label("default_version", "There is").
		column("Behind", `pg_reliability_extension_outdated{$here}`, mapped(wordFor("1", "yes", ticket, 0), wordFor("0", "no", fine, 1))).
		sorted("Behind").none("no extensions")
}

func powerfulRoles() *panel {
	return table("Roles that may log in and do much", "Superusers; those that pass over row security; those that may copy the whole "+
		"server by "+
		"replication.").
		label("instance", "Instance").
		column("Superusers", `pg_reliability_superusers_login{$here}`, unit("locale")).
		column("Past row security", `pg_reliability_bypassrls_roles_login{$here}`, unit("locale")).
		column("Replication", `pg_reliability_replication_roles_login{$here}`, unit("locale")).
		sorted("Superusers").none("unknown")
}

func sessionsEncrypted() *panel {
	return series("Sessions without TLS", "Over the network, at each scrape.").
		query(`pg_reliability_plain_sessions{$here}`, "{{instance}}").unit("short").none("unknown")
}

func tlsSessions() *panel {
	return series("Network sessions by encryption",
		"At each scrape, by TLS version and cipher; none without, those of the machine itself among them.").
		query(`pg_reliability_tls_sessions{$here}`, "{{version}} {{cipher}} {{instance}}").unit("short").stacked().none("nobody comes over the network")
}

func roleLimits() *panel {
	return table("Roles with a limit", "How many connections each may have.").
		label("instance", "Instance").label("rolname", "Role").
		column("Limit", `pg_roles_connection_limit{$here} >= 0`, unit("locale")).
		sorted("Limit").none("no role has a limit")
}
