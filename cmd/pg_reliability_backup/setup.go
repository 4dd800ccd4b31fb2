package main

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/alecthomas/kingpin/v2"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/internal/setup"
	"github.com/pg-reliability/pg_reliability_exporter/internal/spawn"
)

type setupFlags struct {
	sequences, heartbeat, backups, newPasswords, start bool
	configDir, user, prometheus, grafana               string
}

func (f *flags) addSetup(app *kingpin.Application) {
	c := app.Command("setup", "Prepare this machine for the exporter and for backups: make the roles, their passwords and the repository, "+
		"and start the services. It keeps what is there and says each thing that it changes, so it may be run again at any time. Run it as "+
		"root. Without a server in the environment it takes the one that listens on this machine (PGPORT chooses among several, PGHOST=/DIR "+
		"says where its socket is); a server that the environment names otherwise must let a superuser in.")
	f.addDryRun(c)
	s := &f.setup
	c.Flag("sequences", "Also let the exporter read how far sequences have come, in each database.").BoolVar(&s.sequences)
	c.Flag("heartbeat", "Also make the table of the write probe, and switch that on.").BoolVar(&s.heartbeat)
	c.Flag("backups", "Prepare backups, too.").Default("true").BoolVar(&s.backups)
	c.Flag("new-passwords", "Give a role that has a password already the one in its file, or a new one. Without, setup refuses.").
		BoolVar(&s.newPasswords)
	c.Flag("start", "Enable and start the services, where systemd runs.").Default("true").BoolVar(&s.start)
	c.Flag("prometheus", "Add the alerts' rules and the scrape jobs to this configuration of Prometheus; without, the lines are printed.").
		PlaceHolder("FILE").StringVar(&s.prometheus)
	c.Flag("grafana", "Write where the boards and their data are into Grafana's directory of provisioning.").PlaceHolder("DIR").
		StringVar(&s.grafana)
	c.Flag("config-dir", "Directory of the services' settings and passwords.").Default("/etc/pg_reliability").StringVar(&s.configDir)
	c.Flag("user", "User of this machine whom the services run as.").Default("pg_reliability").StringVar(&s.user)
}

// setup prepares a machine.
func (p *program) setup(ctx context.Context) error {
	f := p.flags.setup
	o := setup.Options{
		ConfigDir: f.configDir, User: f.user, Sequences: f.sequences, Heartbeat: f.heartbeat, Backups: f.backups,
		NewPasswords: f.newPasswords, Start: f.start, Prometheus: f.prometheus, Grafana: f.grafana,
		DryRun: p.flags.dryRun, Out: p.out, AsUser: runAs,
	}
	named := false
	for _, name := range []string{"DATA_SOURCE_NAME", "DATA_SOURCE_NAME_FILE", "DATA_SOURCE_URI", "DATA_SOURCE_URI_FILE", "PGHOSTADDR",
		"PGUSER", "PGSERVICE"} {
		v, _ := p.env(name)
		named = named || v != ""
	}
	sockets := setup.Sockets()
	host, _ := p.env("PGHOST")
	if strings.HasPrefix(host, "/") {
		sockets = []string{host}
	}
	var err error
	if named || host != "" && host[0] != '/' {
		o.Admin, err = p.env.target()
	} else {
		port, _ := p.env("PGPORT")
		o.Local = true
		o.Admin, err = setup.Find(sockets, port)
	}
	if err != nil {
		return err
	}
	return setup.Run(ctx, o)
}

// runAs runs this program as another user, with an environment that names no server, and returns what it said.
func runAs(ctx context.Context, uid, gid int, args ...string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	if _, err := os.Stat("/proc/self/exe"); err == nil { // also where that user may not look for it
		self = "/proc/self/exe"
	}
	cmd := exec.CommandContext(ctx, self, args...)
	for _, line := range os.Environ() {
		if !strings.HasPrefix(line, "DATA_SOURCE_") {
			cmd.Env = append(cmd.Env, line)
		}
	}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := spawn.Start(cmd, syscall.SIGKILL); err != nil {
		return "", err
	}
	if err := cmd.Wait(); err != nil {
		return said.String(), failure.New(failure.Repository, "%s: %w", strings.Join(args, " "), err)
	}
	return said.String(), nil
}
