// Command pg_reliability_otlp sends what pg_reliability_exporter shows to an OpenTelemetry receiver.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/go-kit/log/level"
	"github.com/prometheus/common/version"

	"github.com/pg-reliability/pg_reliability_exporter/internal/logging"
	"github.com/pg-reliability/pg_reliability_exporter/internal/manual"
	"github.com/pg-reliability/pg_reliability_exporter/internal/otlp"
	"github.com/pg-reliability/pg_reliability_exporter/internal/smallfile"
)

const (
	appName = "pg_reliability_otlp"

	exitOK = 0
	// exitUsage: the command line or the environment is wrong; nothing was sent.
	exitUsage = 2

	shortestInterval = time.Second
)

type flags struct {
	exporter, metricsPath, username, passwordFile string
	endpoint, headersFile, ca                     string
	interval                                      time.Duration
	logLevel, logFormat                           string
}

func main() {
	kingpin.ManPageTemplate = manual.Template // kingpin has no other way to choose it
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.LookupEnv, os.Stderr))
}

// newApp declares the flags. Each is also an environment variable.
func newApp() (*kingpin.Application, *flags) {
	app := kingpin.New(appName, "Sends the metrics of pg_reliability_exporter to an OpenTelemetry receiver (OTLP over HTTP): its own page, "+
		"and those of the servers that its --config.file lists. Names, labels and values are those of the pages.\n\n"+
		"Every flag is also an environment variable: --otlp.endpoint is PG_RELIABILITY_OTLP_OTLP_ENDPOINT. "+
		"A value behind = is the default; a word in capitals says what to write.")
	manual.Apply(app, manual.Page{
		Short:   "send the metrics of pg_reliability_exporter to an OpenTelemetry receiver",
		SeeAlso: []string{"pg_reliability_exporter(1)"},
		Groups: []manual.Group{
			{Title: "What to read", Flags: []string{"exporter"}},
			{Title: "Where to send it", Flags: []string{"otlp", "ca-file"}},
			{Title: "What to log", Flags: []string{"log"}},
		},
	})
	app.Version(version.Print(appName)).DefaultEnvars().HelpFlag.Short('h').NoEnvar()
	app.VersionFlag.NoEnvar()
	f := &flags{}
	app.Flag("exporter.url", "Address of the exporter.").Default("http://localhost:9187").StringVar(&f.exporter)
	app.Flag("exporter.metrics-path", "Path of its own page: the exporter's --web.telemetry-path.").Default("/metrics").
		StringVar(&f.metricsPath)
	app.Flag("exporter.username", "User name for basic authentication at the exporter.").PlaceHolder("NAME").StringVar(&f.username)
	app.Flag("exporter.password-file", "File that holds this user's password.").PlaceHolder("FILE").StringVar(&f.passwordFile)
	app.Flag("otlp.endpoint", "URL of the receiver, such as http://collector:4318/v1/metrics.").Required().PlaceHolder("URL").
		StringVar(&f.endpoint)
	app.Flag("otlp.interval", "The metrics are sent this often.").Default("15s").DurationVar(&f.interval)
	app.Flag("otlp.headers-file", "File with headers for the receiver, one a line, such as Authorization: Bearer TOKEN. It is read before "+
		"each push.").PlaceHolder("FILE").StringVar(&f.headersFile)
	app.Flag("ca-file", "File with certificates (PEM) that are trusted besides the system's, at the exporter and the receiver.").
		PlaceHolder("FILE").StringVar(&f.ca)
	app.Flag("log.level", "How much is logged: debug, info, warn or error.").Default("info").
		EnumVar(&f.logLevel, "debug", "info", "warn", "error")
	app.Flag("log.format", "How it is: logfmt or json.").Default("logfmt").EnumVar(&f.logFormat, "logfmt", "json")
	return app, f
}

// run is the whole program; it returns the exit code.
func run(ctx context.Context, args []string, env func(string) (string, bool), stderr io.Writer) int {
	app, f := newApp()
	if _, err := app.Parse(args); err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", appName, manual.Mistake(app, args, env, err))
		return exitUsage
	}
	logger := logging.New(stderr, f.logLevel, f.logFormat)
	o, err := f.options()
	if err != nil {
		_ = level.Error(logger).Log("msg", "can't start", "err", err)
		return exitUsage
	}
	o.Logger = logger
	_ = level.Info(logger).Log("msg", "starting", "version", version.Info(), "exporter", o.Exporter.URL, "receiver", o.Endpoint.Redacted())
	otlp.New(o).Run(ctx)
	_ = level.Info(logger).Log("msg", "stopped")
	return exitOK
}

func (f *flags) options() (otlp.Options, error) {
	var o otlp.Options
	exporter, err := address("--exporter.url", f.exporter)
	if err != nil {
		return o, err
	}
	if exporter.User != nil {
		return o, errors.New("--exporter.url holds a user name, which everybody on this machine could read. HINT: Use " +
			"--exporter.username and --exporter.password-file")
	}
	if (f.username == "") != (f.passwordFile == "") {
		return o, errors.New("--exporter.username and --exporter.password-file go together. HINT: Set both, or none")
	}
	endpoint, err := address("--otlp.endpoint", f.endpoint)
	if err != nil {
		return o, err
	}
	if endpoint.User != nil {
		return o, errors.New("--otlp.endpoint holds a user name, which everybody on this machine could read. HINT: Use --otlp.headers-file")
	}
	if endpoint.Path == "" || endpoint.Path == "/" {
		endpoint.Path = "/v1/metrics" // as the specification has it
	}
	if f.interval < shortestInterval {
		return o, fmt.Errorf("--otlp.interval=%s is too short. HINT: Choose at least %s, such as 15s", f.interval, shortestInterval)
	}
	client, err := newClient(f.ca)
	if err != nil {
		return o, err
	}
	return otlp.Options{
		Exporter: &otlp.Exporter{
			URL: exporter, MetricsPath: f.metricsPath, Username: f.username, PasswordFile: f.passwordFile, Client: client,
		},
		Endpoint: endpoint, HeadersFile: f.headersFile, Interval: f.interval, Client: client,
	}, nil
}

func address(flag, text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%s is not an address. HINT: Write http://host:port or https://host:port", flag)
	}
	return u, nil
}

// newClient follows no redirects: passwords and headers are for those who were named.
func newClient(ca string) (*http.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if ca != "" {
		pem, err := smallfile.Read(ca)
		if err != nil {
			return nil, fmt.Errorf("--ca-file: %w", err)
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--ca-file: %s holds no certificate in PEM form", ca)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &http.Client{Transport: transport, CheckRedirect: stay}, nil
}
