package main

import (
	"strings"

	"github.com/alecthomas/kingpin/v2"
)

// about is what a command's --help and its manual say besides what it does: what it changes, and how it is typed.
type about struct {
	changes string
	// example is without the program's name, as the arguments of one call.
	example []string
}

// abouts are those of each command, by its full name.
func abouts() map[string]about {
	return map[string]about{
		"setup": {
			"It changes the server (two roles with their rights and passwords, and what --sequences and --heartbeat add), the files in " +
				"--config-dir, the repository, and the two services. With --dry-run it changes nothing.",
			[]string{"setup", "--sequences", "--heartbeat", "--dry-run"},
		},
		"init": {
			"It writes a few small files into the repository's directory, which must be empty or missing. A repository that exists is kept as " +
				"it is, unless --add-server or --take-over is given.",
			[]string{"--repository=/backups", "init"},
		},
		"run": {
			"It adds a backup to the repository, and after a success deletes those that retention does not keep, unless --no-prune is given. On " +
				"the server it only reads. With --verify it also fills a throwaway server in --scratch-dir, which it removes again.",
			[]string{"--repository=/backups", "run", "--verify", "--keep=14"},
		},
		"schedule": {
			"It does what run does, again and again, and stays in the foreground until it is stopped. A run that fails is tried again after " +
				"--retry-delay.",
			[]string{"--repository=/backups", "schedule", "--cron=0 2 * * *", "--time-zone=Europe/Vienna", "--keep=7", "--keep-weekly=4"},
		},
		"list": {
			"It changes nothing. The newest backup comes first; \"verified\" means that it was restored and compared, and was equal.",
			[]string{"--repository=/backups", "list"},
		},
		"show": {
			"It changes nothing. What the backup does not hold is listed with the remedy for each.",
			[]string{"--repository=/backups", "show", "latest-verified"},
		},
		"verify": {
			"It notes the result beside the backup, and leaves the backup itself and the server alone. Level 3, without --level, fills a " +
				"throwaway server in --scratch-dir and removes it again.",
			[]string{"--repository=/backups", "verify", "--all", "--level=2"},
		},
		"accept": {
			"It notes in the repository that a person has looked: the backup counts as good from then on, and retention may delete older ones.",
			[]string{"--repository=/backups", "accept", "20261123T020000Z-42"},
		},
		"restore": {
			"It makes a new database on the server, and swaps it with the old one when it is complete and checked. The old one stays as " +
				"NAME_before_TIME, unless --drop-old is given. With --table, or --as and a name that is free, nothing is replaced. With " +
				"--dry-run it changes nothing. The login must be a superuser's, unless --no-owner is given.",
			[]string{"--repository=/backups", "restore", "latest-verified", "--database=shop", "--as=shop_look"},
		},
		"bootstrap": {
			"It makes the roles and databases of the backup on a server that holds nothing of a user's. On a server with data it changes nothing.",
			[]string{"--repository=/backups", "bootstrap", "--wait=5m"},
		},
		"prune": {
			"It deletes backups, and says for each one that it keeps or deletes the reason. With --dry-run it deletes nothing.",
			[]string{"--repository=/backups", "prune", "--keep=7", "--keep-monthly=6", "--dry-run"},
		},
		"refresh": {
			"It changes the repository's list alone, and neither pgBackRest's backups nor the server.",
			[]string{"--repository=/backups", "refresh", "--pgbackrest-stanza=main"},
		},
		"offsite list": {
			"It changes nothing.",
			[]string{"--repository=/backups", "offsite", "list", "--offsite-url=s3://backups/shop"},
		},
		"offsite copy": {
			"It adds the copy to the bucket, and deletes there the copies that retention does not keep. The repository stays as it is.",
			[]string{"--repository=/backups", "offsite", "copy", "latest", "--offsite-url=s3://backups/shop"},
		},
		"offsite fetch": {
			"It adds the backup to the repository. The bucket stays as it is.",
			[]string{"--repository=/backups", "offsite", "fetch", "latest", "--offsite-url=s3://backups/shop", "--init"},
		},
		"offsite prune": {
			"It deletes copies in the bucket, and says which. With --dry-run it deletes nothing.",
			[]string{"--repository=/backups", "offsite", "prune", "--offsite-url=s3://backups/shop", "--offsite-keep=30", "--dry-run"},
		},
		"healthcheck": {
			"It changes nothing. It ends with 12 if the repository can't be read.",
			[]string{"--repository=/backups", "healthcheck", "--max-age=26h"},
		},
	}
}

// explain gives each command what abouts says of it.
func explain(app *kingpin.Application) {
	for name, a := range abouts() {
		command(app, name).HelpLong(a.changes + "\n\nExample:\n\n    " + typed(a.example))
	}
}

// command finds a command by its full name, such as "offsite copy".
func command(app *kingpin.Application, name string) *kingpin.CmdClause {
	first, second, _ := strings.Cut(name, " ")
	c := app.GetCommand(first)
	if second != "" {
		c = c.GetCommand(second)
	}
	return c
}

// typed is a call of the program as a person types it into a shell.
func typed(args []string) string {
	words := []string{appName}
	for _, a := range args {
		if name, value, has := strings.Cut(a, "="); has && strings.ContainsAny(value, " *") {
			a = name + "='" + value + "'"
		}
		words = append(words, a)
	}
	return strings.Join(words, " ")
}

// values are the words that stand in --help for what is to be typed, of flags whose declaration has none.
func values() map[string]string {
	return map[string]string{
		"database": "NAME", "exclude-database": "PATTERN", "extension-data": "SCHEMA.TABLE", "as": "NAME", "keep-as": "NAME",
		"table": "SCHEMA.TABLE", "at": "TIME", "to": "URL", "of-server": "IDENTIFIER", "schema": "FILE", "data-dir": "DIR",
		"tablespace-dir": "DIR", "scratch-dir": "DIR", "scratch-user": "USER", "scratch-setting": "NAME=SETTING",
		"textfile": "FILE.prom", "verify-schedule": "CRON",
		"max-age": "TIME", "web.backup-token-file": "FILE", "web.config.file": "FILE", "offsite-url": "s3://BUCKET/PREFIX",
		"offsite-endpoint": "URL", "offsite-region": "REGION", "offsite-recipient": "age1KEY", "offsite-identity": "FILE",
		"offsite-repository": "ID", "pgbackrest-config": "FILE", "pgbackrest-user": "USER", "pgbackrest-option": "OPTION",
	}
}
